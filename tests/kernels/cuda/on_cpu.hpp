// Runs CUDA C++ kernels on the CPU, to test their results: one fibre a CUDA thread, one block at a
// time, in a chosen order of threads; a fibre runs until it waits at a barrier.
//
// Known here: grids and blocks of three axes, dynamic shared memory, __syncthreads, __syncwarp,
// shuffles, votes, and what the package's prelude takes from the GPU's own instruction set.
// One line of a source, a barrier or a bound check, can be switched off: a test must then fail.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#ifndef __x86_64__
#error "the switch between fibres is written for x86-64 alone"
#endif

#define __CUDA_ON_CPU__ 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

extern "C" void on_cpu_switch(void** save, void* load);
asm(".text\n.weak on_cpu_switch\n.type on_cpu_switch,@function\non_cpu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");

namespace on_cpu {

enum State : uint8_t { READY, AT_BARRIER, AT_WARP, DONE };
constexpr size_t STACK = 64 * 1024, GUARD = 64 * 1024;
constexpr int MOST_THREADS = 1024, SLOT = 32;

struct Block {
  void* scheduler = nullptr;
  void* fibre[MOST_THREADS];
  State state[MOST_THREADS];
  int line[MOST_THREADS];
  unsigned lanes[MOST_THREADS];
  alignas(16) unsigned char slot[MOST_THREADS][SLOT];
  uint3 index[MOST_THREADS];
  int threads = 0, current = 0;
  int order = 0;     // 0 forward, 1 backward, from 2 on shuffled with that seed
  int off = 0;  // the line, and its file, of a barrier or bound check that does nothing
  const char* off_file = "";
  char* stacks = nullptr;
  std::vector<unsigned char> shared;
  size_t shared_bytes = 0;
  char error[256] = "";
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
};
inline Block B;

inline bool is_off(int line, const char* file) {
  return line == B.off && std::strcmp(file, B.off_file) == 0;
}
inline bool inside(bool condition, int line, const char* file) {
  return condition || is_off(line, file);
}

inline void wait(State state, int line) {
  const int me = B.current;
  B.state[me] = state;
  B.line[me] = line;
  on_cpu_switch(&B.fibre[me], B.scheduler);
}
inline void wait_for_lanes(unsigned lanes, int line) {
  B.lanes[B.current] = lanes;
  wait(AT_WARP, line);
}

inline void start_fibre() {
  B.body(B.arguments);
  B.state[B.current] = DONE;
  void* dead;
  on_cpu_switch(&dead, B.scheduler);
  std::abort();
}

inline void prepare_fibres() {
  if (!B.stacks)
    B.stacks = static_cast<char*>(mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  for (int t = 0; t < B.threads; ++t) {
    void** top = reinterpret_cast<void**>(B.stacks + STACK * (t + 1)) - 1;  // as after a call
    *--top = reinterpret_cast<void*>(&start_fibre);
    for (int r = 0; r < 6; ++r) *--top = nullptr;
    B.fibre[t] = top;
    B.state[t] = READY;
  }
}

// Lets go of warps whose named lanes all wait; returns whether there were any.
inline bool release_warps() {
  bool released = false;
  for (int first = 0; first < B.threads; first += 32) {
    const int size = std::min(32, B.threads - first);
    unsigned waiting = 0;
    for (int l = 0; l < size; ++l) waiting |= unsigned(B.state[first + l] == AT_WARP) << l;
    const unsigned present = size == 32 ? ~0u : (1u << size) - 1;
    for (int l = 0; l < size; ++l) {
      const unsigned needed = B.lanes[first + l] & present;
      if (B.state[first + l] != AT_WARP || (needed & waiting) != needed) continue;
      B.state[first + l] = READY;
      released = true;
    }
  }
  return released;
}

inline void run_block() {
  prepare_fibres();
  static std::vector<int> turns;
  static std::mt19937 random;
  turns.resize(B.threads);
  std::iota(turns.begin(), turns.end(), 0);
  if (B.order == 1) std::reverse(turns.begin(), turns.end());
  if (B.order >= 2) random.seed(B.order + 977 * blockIdx.x + 31 * blockIdx.y);
  int live = B.threads;
  while (live) {
    if (B.order >= 2) std::shuffle(turns.begin(), turns.end(), random);
    bool ran = false;
    for (int t : turns) {
      if (B.state[t] != READY) continue;
      ran = true;
      B.current = t;
      threadIdx = B.index[t];
      on_cpu_switch(&B.scheduler, B.fibre[t]);
      if (B.state[t] == DONE) --live;
    }
    if (release_warps()) continue;
    int arrived = 0, line = -1;
    bool mixed = false;
    for (int t = 0; t < B.threads; ++t) {
      if (B.state[t] != AT_BARRIER) continue;
      ++arrived;
      if (line < 0) line = B.line[t];
      mixed |= B.line[t] != line;
    }
    if (live && arrived == live) {
      if (arrived != B.threads || mixed) {
        std::snprintf(B.error, sizeof B.error, "divergent barrier near line %d: %d of %d threads%s",
                      line, arrived, B.threads, mixed ? ", at different lines" : "");
        return;
      }
      for (int t = 0; t < B.threads; ++t) B.state[t] = READY;
    } else if (live && !ran) {
      std::snprintf(B.error, sizeof B.error, "deadlock: %d of %d threads wait", live, B.threads);
      return;
    }
  }
}

// A kernel that reads or writes a page that is not there comes back here.
inline sigjmp_buf fault;
inline void on_fault(int) { siglongjmp(fault, 1); }
struct FaultsCaught {
  struct sigaction before[2];
  FaultsCaught() {
    struct sigaction own = {};
    own.sa_handler = on_fault;
    sigaction(SIGSEGV, &own, &before[0]);
    sigaction(SIGBUS, &own, &before[1]);
  }
  ~FaultsCaught() {
    sigaction(SIGSEGV, &before[0], nullptr);
    sigaction(SIGBUS, &before[1], nullptr);
  }
};

inline const char* run_grid(const unsigned* grid, int threads, size_t shared_bytes, int order,
                            int off, const char* off_file) {
  if (threads < 1 || threads > MOST_THREADS) return "a block has 1 to 1024 threads";
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {unsigned(threads), 1, 1};
  B.threads = threads;
  B.order = order;
  B.off = off;
  B.off_file = off_file;
  B.shared_bytes = shared_bytes;
  B.error[0] = 0;
  for (int t = 0; t < threads; ++t) B.index[t] = {unsigned(t), 0, 0};
  FaultsCaught caught;
  if (sigsetjmp(fault, 1)) return "reached far outside an array";
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; ++x) {
        blockIdx = {x, y, z};
        B.shared.assign(shared_bytes + GUARD, 0xFF);  // NaN: reading what nobody wrote shows
        run_block();
        if (B.error[0]) return B.error;
        for (size_t k = shared_bytes; k < shared_bytes + GUARD; ++k)
          if (B.shared[k] != 0xFF) return "wrote beyond the shared memory asked for";
      }
  return nullptr;
}

template <auto K>
struct Kernel;
template <class... A, void (*K)(A...)>
struct Kernel<K> {
  template <size_t... I>
  static void call(void** a, std::index_sequence<I...>) {
    K(*static_cast<std::remove_reference_t<A>*>(a[I])...);
  }
  static void body(void* a) {
    static_assert(((sizeof(A) == 8) && ...), "every parameter has 8 bytes");
    call(static_cast<void**>(a), std::index_sequence_for<A...>{});
  }
  static const char* launch(int count, void** arguments, const unsigned* grid, int threads,
                            size_t shared_bytes, int order, int off, const char* off_file) {
    if (count != int(sizeof...(A))) return "as many arguments as the kernel has parameters, please";
    B.body = &body;
    B.arguments = arguments;
    return run_grid(grid, threads, shared_bytes, order, off, off_file);
  }
};

// What every lane brings, for the others to read between two waits of the warp.
template <class T>
void bring(const T& value) {
  static_assert(sizeof(T) <= SLOT);
  std::memcpy(B.slot[B.current], &value, sizeof(T));
}
template <class T>
T brought_by(int thread) {
  T value;
  std::memcpy(&value, B.slot[thread], sizeof(T));
  return value;
}
inline int lane() { return B.current & 31; }
inline int first_of_warp() { return B.current & ~31; }

template <class T>
T shuffle(unsigned lanes, T value, int source) {
  bring(value);
  wait_for_lanes(lanes, 0);
  const int thread = first_of_warp() + source;
  const T result = thread < B.threads ? brought_by<T>(thread) : value;
  wait_for_lanes(lanes, 0);
  return result;
}

}  // namespace on_cpu

#define ON_CPU_EXPORT(k)                                                                     \
  extern "C" const char* on_cpu_##k(int count, void** arguments, const unsigned* grid,       \
                                    int threads, size_t shared, int order, int off,          \
                                    const char* file) {                                      \
    return on_cpu::Kernel<&k>::launch(count, arguments, grid, threads, shared, order, off,   \
                                      file);                                                 \
  }
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(on_cpu::B.shared.data())
#define INSIDE(condition) on_cpu::inside((condition), __LINE__, __FILE__)
#define __syncthreads()                          \
  (on_cpu::is_off(__LINE__, __FILE__) ? (void)0 \
                                      : on_cpu::wait(on_cpu::AT_BARRIER, __LINE__))
#define __syncwarp(...)                          \
  (on_cpu::is_off(__LINE__, __FILE__) ? (void)0 \
                                      : on_cpu::wait_for_lanes(0xffffffffu, __LINE__))

template <class T>
T __shfl_sync(unsigned m, T v, int s, int w = 32) {
  const int l = on_cpu::lane();
  return on_cpu::shuffle(m, v, (l & ~(w - 1)) + (s & (w - 1)));
}
template <class T>
T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32) {
  const int l = on_cpu::lane();
  return on_cpu::shuffle(m, v, int((l & (w - 1)) + d) < w ? l + int(d) : l);
}
template <class T>
T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32) {
  const int l = on_cpu::lane();
  return on_cpu::shuffle(m, v, (l & (w - 1)) >= int(d) ? l - int(d) : l);
}
template <class T>
T __shfl_xor_sync(unsigned m, T v, int x, int w = 32) {
  const int l = on_cpu::lane(), s = l ^ x;
  return on_cpu::shuffle(m, v, (s & ~(w - 1)) == (l & ~(w - 1)) ? s : l);
}
inline unsigned __ballot_sync(unsigned m, int p) {
  on_cpu::bring(p != 0);
  on_cpu::wait_for_lanes(m, 0);
  unsigned votes = 0;
  for (int l = 0; l < 32; ++l) {
    const int thread = on_cpu::first_of_warp() + l;
    if ((m >> l & 1) && thread < on_cpu::B.threads && on_cpu::brought_by<bool>(thread))
      votes |= 1u << l;
  }
  on_cpu::wait_for_lanes(m, 0);
  return votes;
}
inline int __any_sync(unsigned m, int p) { return __ballot_sync(m, p) != 0; }
inline int __all_sync(unsigned m, int p) { return __ballot_sync(m, !p) == 0; }
inline int __syncthreads_or_at(int p, int line) {
  static int any = 0;
  any |= p != 0;
  on_cpu::wait(on_cpu::AT_BARRIER, line);
  const int result = any;
  on_cpu::wait(on_cpu::AT_BARRIER, line);
  any = 0;  // by all of them, before the next vote of any
  on_cpu::wait(on_cpu::AT_BARRIER, line);
  return result;
}
#define __syncthreads_or(p)                             \
  (on_cpu::is_off(__LINE__, __FILE__) ? int((p) != 0) \
                                      : __syncthreads_or_at((p), __LINE__))

template <class T>
T __ldg(const T* p) {
  return *p;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
using std::max;
using std::min;

inline float float_of_half(unsigned short bits) {
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return float(half);
}
inline unsigned short half_of_float(float value) {
  const _Float16 half = _Float16(value);
  unsigned short bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}
inline unsigned tf32_of_float(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  const bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
  return is_finite ? (bits + 0x1000u) & ~0x1fffu : bits;
}
inline void multiply_add_tf32(float* d, const unsigned* a, const unsigned* b) {
  struct Fragments {
    float a[4], b[2];
  } own;
  std::memcpy(own.a, a, sizeof own.a);
  std::memcpy(own.b, b, sizeof own.b);
  on_cpu::bring(own);
  on_cpu::wait_for_lanes(0xffffffffu, 0);
  const int first = on_cpu::first_of_warp(), g = on_cpu::lane() / 4, t = on_cpu::lane() % 4;
  for (int k = 0; k < 8; ++k)
    for (int e = 0; e < 4; ++e) {
      const int holder_of_a = first + g * 4 + k % 4;
      const int holder_of_b = first + (2 * t + e % 2) * 4 + k % 4;
      const auto left = on_cpu::brought_by<Fragments>(holder_of_a);
      const auto right = on_cpu::brought_by<Fragments>(holder_of_b);
      d[e] += left.a[(k / 4) * 2 + e / 2] * right.b[k / 4];
    }
  on_cpu::wait_for_lanes(0xffffffffu, 0);
}
