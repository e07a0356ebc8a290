// What every kernel source of this package begins with.
//
// Rules of the house: constants come as -D NAME=value; a kernel's parameters are pointers,
// `Index` or `double`, 8 bytes each; all shared memory is DYNAMIC_SHARED; a condition that keeps
// an access within its array is written INSIDE(condition), one a line; one barrier a line; no
// atomics, so that two runs give equal bits.
#ifndef __CUDA_ON_CPU__  // the tests run these sources on the CPU and bring their own
#define DYNAMIC_SHARED(T, name)                                           \
  extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];  \
  T* name = reinterpret_cast<T*>(dynamic_shared_memory)
#define INSIDE(condition) (condition)

__device__ __forceinline__ float float_of_half(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
__device__ __forceinline__ unsigned short half_of_float(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
// The bits of the nearest number of 10 explicit mantissa bits.
__device__ __forceinline__ unsigned tf32_of_float(float value) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}
// d (16, 8) += a (16, 8) b (8, 8) by a warp. With g = lane / 4 and t = lane % 4 a lane holds
// a = (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b = (t, g), (t + 4, g);
// d = (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void multiply_add_tf32(float* d, const unsigned* a, const unsigned* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

typedef long long Index;

struct Float16 {
  unsigned short bits;
};
struct Bfloat16 {
  unsigned short bits;
};

// The type in which numbers of a storage type are computed.
template <typename T>
struct WideOf {
  typedef T type;
};
template <>
struct WideOf<Float16> {
  typedef float type;
};
template <>
struct WideOf<Bfloat16> {
  typedef float type;
};

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(Float16 value) { return float_of_half(value.bits); }
__device__ __forceinline__ float widen(Bfloat16 value) {
  union {
    unsigned bits;
    float number;
  } whole;
  whole.bits = static_cast<unsigned>(value.bits) << 16;
  return whole.number;
}

__device__ __forceinline__ void narrow(float value, float& target) { target = value; }
__device__ __forceinline__ void narrow(double value, double& target) { target = value; }
__device__ __forceinline__ void narrow(float value, Float16& target) {
  target.bits = half_of_float(value);
}
__device__ __forceinline__ void narrow(float value, Bfloat16& target) {
  union {
    float number;
    unsigned bits;
  } whole;
  whole.number = value;
  const unsigned to_even = 0x7fffu + ((whole.bits >> 16) & 1u);
  const bool is_nan = (whole.bits & 0x7fffffffu) > 0x7f800000u;
  target.bits = is_nan ? 0x7fc0 : static_cast<unsigned short>((whole.bits + to_even) >> 16);
}

constexpr __host__ __device__ int whole(int count, int unit) {
  return (count + unit - 1) / unit * unit;
}
