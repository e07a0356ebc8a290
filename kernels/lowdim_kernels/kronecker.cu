// One factor of a Kronecker product at a time, of any size: Y[l, o, r] = sum over i of
// A[o, i] X[l, i, r], in tiles of ROWS outputs by COLUMNS pairs (l, r), and the factor's gradient.
//
// Constants: SCALAR, ROWS, COLUMNS (4096 / ROWS), RIGHT_IS_ONE (there is no axis r), TF32.
#include "cuda/prelude.cuh"
#include "cuda/tiles.cuh"

constexpr int DEPTH = 16;  // numbers of the axis that is summed over, at a time
constexpr int MOST = (tiles_of(ROWS, COLUMNS) + WORKERS - 1) / WORKERS;

// Where column c, a pair (l, r), begins in data of `size` numbers along the axis of the factor.
__device__ __forceinline__ Index start_of(Index c, Index size, Index right) {
  return RIGHT_IS_ONE ? c * size : c / right * size * right + c % right;
}

// Fills DEPTH rows of SIDE numbers with read(k, n), neighbours in k or in n by neighbouring threads.
template <int SIDE, bool ALONG_K, class Read>
__device__ __forceinline__ void fill(Wide* target, Read read) {
  for (int e = threadIdx.x; e < SIDE * DEPTH; e += THREADS) {
    const int k = ALONG_K ? e % DEPTH : e / SIDE, n = ALONG_K ? e / DEPTH : e % SIDE;
    target[k * width_of(SIDE) + n] = read(k, n);
  }
}

__device__ __forceinline__ void accumulate_tiles(Tile* own, const Wide* left, const Wide* right) {
#pragma unroll
  for (int j = 0; j < MOST; ++j) {
    int m, n;
    place_of<ROWS, COLUMNS, RIGHT_IS_ONE>(worker() + j * WORKERS, m, n);
    accumulate(own[j], left + m, width_of(ROWS), right + n, width_of(COLUMNS), DEPTH);
  }
}

// Calls store(m, n, value) for every number that this thread holds, padding included.
template <class Store>
__device__ __forceinline__ void store_tiles(const Tile* own, Store store) {
#pragma unroll
  for (int j = 0; j < MOST; ++j) {
    int m, n;
    place_of<ROWS, COLUMNS, RIGHT_IS_ONE>(worker() + j * WORKERS, m, n);
#pragma unroll
    for (int e = 0; e < HELD; ++e) store(m + row_of(e), n + column_of(e), own[j].held[e]);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    factor_product(const SCALAR* x, const SCALAR* a, SCALAR* y, Index columns, Index right,
                   Index outer, Index inner, Index replicas, Index x_step, Index a_step,
                   Index a_row, Index a_column) {
  DYNAMIC_SHARED(Wide, memory);
  Wide* factor = memory;                          // A as (i, o)
  Wide* data = factor + DEPTH * width_of(ROWS);   // X as (i, column)
  const Index first_row = Index(blockIdx.z) * ROWS, first = Index(blockIdx.x) * COLUMNS;
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    const SCALAR* x_own = x + r * x_step;
    const SCALAR* a_own = a + r * a_step;
    Tile own[MOST] = {};
    for (Index k0 = 0; k0 < inner; k0 += DEPTH) {
      fill<ROWS, true>(factor, [&](int k, int m) {
        const Index o = first_row + m, i = k0 + k;
        if (INSIDE(o < outer) &&
            INSIDE(i < inner))
          return widen(a_own[o * a_row + i * a_column]);
        return Wide(0);
      });
      fill<COLUMNS, RIGHT_IS_ONE>(data, [&](int k, int n) {
        const Index c = first + n, i = k0 + k;
        if (INSIDE(c < columns) &&
            INSIDE(i < inner))
          return widen(x_own[start_of(c, inner, right) + i * right]);
        return Wide(0);
      });
      __syncthreads();
      accumulate_tiles(own, factor, data);
      __syncthreads();
    }
    SCALAR* y_own = y + r * columns * outer;
    store_tiles(own, [&](int m, int n, Wide value) {
      const Index o = first_row + m, c = first + n;
      if (INSIDE(o < outer) &&
          INSIDE(c < columns))
        narrow(value, y_own[start_of(c, outer, right) + o * right]);
    });
  }
}

// Writes, for each of gridDim.x parts of the columns, sum over them of G[l, o, r] X[l, i, r].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    factor_gradient(const SCALAR* g, const SCALAR* x, Wide* parts, Index columns, Index share,
                    Index right, Index outer, Index inner, Index replicas, Index x_step) {
  DYNAMIC_SHARED(Wide, memory);
  Wide* given = memory;                           // G as (column, o)
  Wide* data = given + DEPTH * width_of(ROWS);    // X as (column, i)
  const Index across = (inner + COLUMNS - 1) / COLUMNS;
  const Index first_row = blockIdx.z / across * ROWS, first = blockIdx.z % across * COLUMNS;
  const Index begin = blockIdx.x * share, end = min(begin + share, columns);
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    const SCALAR* g_own = g + r * columns * outer;
    const SCALAR* x_own = x + r * x_step;
    Tile own[MOST] = {};
    for (Index k0 = begin; k0 < end; k0 += DEPTH) {
      fill<ROWS, !RIGHT_IS_ONE>(given, [&](int k, int m) {
        const Index c = k0 + k, o = first_row + m;
        if (INSIDE(c < end) &&
            INSIDE(o < outer))
          return widen(g_own[start_of(c, outer, right) + o * right]);
        return Wide(0);
      });
      fill<COLUMNS, !RIGHT_IS_ONE>(data, [&](int k, int n) {
        const Index c = k0 + k, i = first + n;
        if (INSIDE(c < end) &&
            INSIDE(i < inner))
          return widen(x_own[start_of(c, inner, right) + i * right]);
        return Wide(0);
      });
      __syncthreads();
      accumulate_tiles(own, given, data);
      __syncthreads();
    }
    Wide* part = parts + (r * gridDim.x + blockIdx.x) * outer * inner;
    store_tiles(own, [&](int m, int n, Wide value) {
      const Index o = first_row + m, i = first + n;
      if (INSIDE(o < outer) &&
          INSIDE(i < inner))
        part[o * inner + i] = value;
    });
  }
}
