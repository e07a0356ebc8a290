// Matrices of a batch as one block holds and multiplies them, in float64 whatever they are
// stored in.
//
// Sixteen lanes, a group, work on one column of shared memory at a time: 16 ELEMENTS rows, padded
// by zeros. A matrix in global memory passes by in chunks of rows, turned so that neighbouring
// rows lie side by side.

constexpr int LANES = 16;
constexpr int LENGTH = LANES * ELEMENTS;
constexpr int THREADS = 64 * ELEMENTS;
constexpr int GROUPS = THREADS / LANES;
// Columns that one group looks after.
constexpr int SHARE = LENGTH / GROUPS;
constexpr int TASK_DOUBLES = 24;
constexpr double MOST = 1.7976931348623157e308;

// What a block works on. It lies in shared memory as well, not in registers that a thread would
// have to keep through everything.
struct Task {
  const SCALAR* g;
  SCALAR *u, *s, *v;
  Index m;
  double scale;
  int n;
  int pitch;  // columns that u, s and v have room for; `rank` of them are wanted
  int rank;
  int chunk;  // rows that pass by at once
  int stride;  // of their columns
  SCALAR *y, *z;  // of an iteration, `width` columns wide
  int width;
  SCALAR* block;  // columns that are made orthonormal
  Index height;
  int block_pitch, count;
};
static_assert(sizeof(Task) <= TASK_DOUBLES * sizeof(double), "a task has its place");

struct Space {
  Task* task;
  double* norms;
  double* scales;
  double* sizes;
  double* pivots;  // before and after a step
  double* starts;
  double* partial;
  int* order;
  int* place;
  double* columns;  // of LENGTH numbers
  double* chunk;    // rows that pass by: columns of `stride` numbers
  int stride;
};

// Worked out in every function, so that the compiler sees that all of it is shared memory.
__device__ __forceinline__ Space space() {
  DYNAMIC_SHARED(double, memory);
  Space s;
  s.task = reinterpret_cast<Task*>(memory);
  s.norms = memory + TASK_DOUBLES;
  s.scales = s.norms + LENGTH;
  s.sizes = s.scales + LENGTH;
  s.pivots = s.sizes + LENGTH;
  s.starts = s.pivots + 2 * LENGTH;
  s.partial = s.starts + LENGTH;
  s.order = reinterpret_cast<int*>(s.partial + 16);
  s.place = s.order + LENGTH;
  s.columns = s.partial + 16 + LENGTH;
  s.chunk = s.columns + whole(s.task->n, 8) * LENGTH;
  s.stride = s.task->stride;
  return s;
}

__device__ __forceinline__ int lane_of_group() { return threadIdx.x % LANES; }
__device__ __forceinline__ int group_of_block() { return threadIdx.x / LANES; }

__device__ __forceinline__ double sum_over_group(double value) {
  const unsigned members = 0xffffu << (threadIdx.x & 16);
  for (int apart = LANES / 2; apart; apart /= 2)
    value += __shfl_xor_sync(members, value, apart);
  return value;
}

// A pseudo-random number in (-1, 1).
__device__ __forceinline__ double noise(Index row, int column, int seed) {
  unsigned x = static_cast<unsigned>(row) * 0x9e3779b9u + static_cast<unsigned>(column);
  x = (x ^ (x >> 16)) * 0x85ebca6bu + static_cast<unsigned>(seed) * 0x27d4eb2fu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  x ^= x >> 16;
  return (static_cast<double>(x) + 0.5) / 2147483648.0 - 1.0;
}

// The power of two that brings the largest entry to between 1 and 2; 0 where one is not finite.
__device__ __noinline__ double scale_of(const SCALAR* g, Index size) {
  const Space s = space();
  double top = 0;
  bool finite = true;
  for (Index i = threadIdx.x; i < size; i += THREADS) {
    const double x = fabs(static_cast<double>(widen(g[i])));
    finite = finite && x <= MOST;
    top = max(top, x);
  }
  for (int apart = 16; apart; apart /= 2)
    top = max(top, __shfl_xor_sync(0xffffffffu, top, apart));
  if (threadIdx.x % 32 == 0) s.partial[threadIdx.x / 32] = top;
  if (__syncthreads_or(!finite)) return 0;
  for (int w = 0; w < THREADS / 32; ++w) top = max(top, s.partial[w]);
  return top > 0 ? ldexp(1.0, -max(-1000, min(1000, ilogb(top)))) : 1.0;
}

// Rows of a matrix that pass by at once.
struct Rows {
  Index first;
  int count;
};

__device__ __forceinline__ Rows rows_from(Index first, Index height, const Space& s) {
  const Index rest = height - first;
  return {first, rest < s.task->chunk ? static_cast<int>(rest) : s.task->chunk};
}

// Brings rows of a matrix, `pitch` numbers apart, into columns; zeros beyond `count`.
__device__ void load_rows(const SCALAR* source, Rows rows, int pitch, int count, double scale,
                          double* target, int stride) {
  for (int r = group_of_block(); r < rows.count; r += GROUPS) {
    const SCALAR* row = source + (rows.first + r) * pitch;
    for (int l = lane_of_group(); l < whole(count, 8); l += LANES) {
      double value = 0;
      if (INSIDE(l < count)) value = scale * widen(row[l]);
      target[l * stride + r] = value;
    }
  }
}

// Adds left^T right over `rows` rows to columns; 16 entries, `down` and `across` apart, a thread.
template <bool SYMMETRIC>
__device__ void add_products(const double* left, int down, const double* right, int across,
                             int rows, bool is_first, const Space& s) {
  const int tiles = SYMMETRIC ? down * (down + 1) / 2 : down * across;
  for (int t = threadIdx.x; t < tiles; t += THREADS) {
    int i = t % down, j = t / down;
    if (SYMMETRIC) {  // a triangle of even side, folded to a rectangle
      const int a = t / (down + 1), b = t % (down + 1);
      i = b <= a ? a : down - 1 - a;
      j = b <= a ? b : b - a - 1;
    }
    double sum[4][4], x[4], y[4];
    for (int p = 0; p < 4; ++p)
      for (int q = 0; q < 4; ++q)
        sum[p][q] = is_first ? 0 : s.columns[(j + q * across) * LENGTH + i + p * down];
#pragma unroll 1
    for (int r = 0; r < rows; ++r) {
      for (int p = 0; p < 4; ++p) x[p] = left[(i + p * down) * s.stride + r];
      for (int q = 0; q < 4; ++q) y[q] = right[(j + q * across) * s.stride + r];
      for (int p = 0; p < 4; ++p)
        for (int q = 0; q < 4; ++q) sum[p][q] = fma(x[p], y[q], sum[p][q]);
    }
    for (int p = 0; p < 4; ++p)
      for (int q = 0; q < 4; ++q) {
        s.columns[(j + q * across) * LENGTH + i + p * down] = sum[p][q];
        if (SYMMETRIC) s.columns[(i + p * down) * LENGTH + j + q * across] = sum[p][q];
      }
  }
}

// columns = source^T source for the first `count` columns of a matrix.
__device__ __noinline__ void gram(const SCALAR* source, Index height, int pitch, int count,
                                  double scale) {
  const Space s = space();
  const int side = whole(count, 8) / 4;
  for (Index first = 0; first < height; first += s.task->chunk) {
    const Rows rows = rows_from(first, height, s);
    load_rows(source, rows, pitch, count, scale, s.chunk, s.stride);
    __syncthreads();
    add_products<true>(s.chunk, side, s.chunk, side, rows.count, first == 0, s);
    __syncthreads();
  }
}

// columns = g^T y, for the first `count` columns of y.
__device__ __noinline__ void transposed_product(const SCALAR* y, int count) {
  const Space s = space();
  const int n = s.task->n, down = whole(n, 8) / 4, across = whole(count, 8) / 4;
  double* beside = s.chunk + 4 * down * s.stride;
  for (Index first = 0; first < s.task->m; first += s.task->chunk) {
    const Rows rows = rows_from(first, s.task->m, s);
    load_rows(s.task->g, rows, n, n, s.task->scale, s.chunk, s.stride);
    load_rows(y, rows, count, count, 1.0, beside, s.stride);
    __syncthreads();
    add_products<false>(s.chunk, down, beside, across, rows.count, first == 0, s);
    __syncthreads();
  }
}

// target = source columns[order] diag(scales): `width` columns to `count`; target may be source.
__device__ __noinline__ void product(const SCALAR* source, Index height, int pitch, int width,
                                     double scale, int count, SCALAR* target, int target_pitch) {
  const Space s = space();
  for (Index first = 0; first < height; first += s.task->chunk) {
    const Rows rows = rows_from(first, height, s);
    load_rows(source, rows, pitch, width, scale, s.chunk, s.stride);
    __syncthreads();
    for (int t = threadIdx.x; t < rows.count * (whole(count, 4) / 4); t += THREADS) {
      const int r = t % rows.count, j = t / rows.count * 4;
      const double* column[4];
      double sum[4] = {0, 0, 0, 0};
      for (int q = 0; q < 4; ++q) column[q] = s.columns + s.order[min(j + q, count - 1)] * LENGTH;
#pragma unroll 2
      for (int l = 0; l < width; ++l) {
        const double x = s.chunk[l * s.stride + r];
        for (int q = 0; q < 4; ++q) sum[q] = fma(x, column[q][l], sum[q]);
      }
      SCALAR* row = target + (first + r) * target_pitch;
      for (int q = 0; q < 4; ++q)
        if (INSIDE(j + q < count)) narrow(sum[q] * s.scales[j + q], row[j + q]);
    }
    __syncthreads();
  }
}

// target = columns[order] diag(scales).
__device__ __noinline__ void store_columns(int height, int count, SCALAR* target, int pitch) {
  const Space s = space();
  for (int i = group_of_block(); i < height; i += GROUPS)
    for (int j = lane_of_group(); j < count; j += LANES)
      narrow(s.columns[s.order[j] * LENGTH + i] * s.scales[j], target[i * pitch + j]);
}

__device__ __noinline__ void load_columns(const SCALAR* source, int height, int pitch, int count) {
  const Space s = space();
  for (int i = group_of_block(); i < height; i += GROUPS)
    for (int j = lane_of_group(); j < count; j += LANES)
      s.columns[j * LENGTH + i] = widen(source[i * pitch + j]);
}

// Writes one value to columns from `first` to `last` of a matrix.
__device__ void fill(SCALAR* target, Index height, int pitch, int first, int last, double value) {
  for (Index i = group_of_block(); i < height; i += GROUPS)
    for (int j = first + lane_of_group(); j < last; j += LANES)
      narrow(value, target[i * pitch + j]);
}
