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

__device__ __forceinline__ void accumulate_tiles(Tile* own, const Wide* left, const Wide* right) {
#pragma unroll
  for (int j = 0; j < MOST; ++j) {
    int m, n;
    place_of<ROWS, COLUMNS, RIGHT_IS_ONE>(worker() + j * WORKERS, m, n);
    accumulate(own[j], left + m, width_of(ROWS), right + n, width_of(COLUMNS), DEPTH);
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
      for (int e = threadIdx.x; e < ROWS * DEPTH; e += THREADS) {
        const Index o = first_row + e / DEPTH, i = k0 + e % DEPTH;
        Wide value = 0;
        if (INSIDE(o < outer) &&
            INSIDE(i < inner))
          value = widen(a_own[o * a_row + i * a_column]);
        factor[e % DEPTH * width_of(ROWS) + e / DEPTH] = value;
      }
      for (int e = threadIdx.x; e < COLUMNS * DEPTH; e += THREADS) {
        const int k = RIGHT_IS_ONE ? e % DEPTH : e / COLUMNS;
        const int n = RIGHT_IS_ONE ? e / DEPTH : e % COLUMNS;
        const Index i = k0 + k, c = first + n;
        Wide value = 0;
        if (INSIDE(c < columns) &&
            INSIDE(i < inner))
          value = widen(x_own[start_of(c, inner, right) + i * right]);
        data[k * width_of(COLUMNS) + n] = value;
      }
      __syncthreads();
      accumulate_tiles(own, factor, data);
      __syncthreads();
    }
    SCALAR* y_own = y + r * columns * outer;
#pragma unroll
    for (int j = 0; j < MOST; ++j) {
      int m, n;
      place_of<ROWS, COLUMNS, RIGHT_IS_ONE>(worker() + j * WORKERS, m, n);
#pragma unroll
      for (int e = 0; e < HELD; ++e) {
        const Index o = first_row + m + row_of(e), c = first + n + column_of(e);
        if (INSIDE(o < outer) &&
            INSIDE(c < columns))
          narrow(own[j].held[e], y_own[start_of(c, outer, right) + o * right]);
      }
    }
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
      for (int e = threadIdx.x; e < ROWS * DEPTH; e += THREADS) {
        const int k = RIGHT_IS_ONE ? e / ROWS : e % DEPTH;
        const int m = RIGHT_IS_ONE ? e % ROWS : e / DEPTH;
        const Index c = k0 + k, o = first_row + m;
        Wide value = 0;
        if (INSIDE(c < end) &&
            INSIDE(o < outer))
          value = widen(g_own[start_of(c, outer, right) + o * right]);
        given[k * width_of(ROWS) + m] = value;
      }
      for (int e = threadIdx.x; e < COLUMNS * DEPTH; e += THREADS) {
        const int k = RIGHT_IS_ONE ? e / COLUMNS : e % DEPTH;
        const int n = RIGHT_IS_ONE ? e % COLUMNS : e / DEPTH;
        const Index c = k0 + k, i = first + n;
        Wide value = 0;
        if (INSIDE(c < end) &&
            INSIDE(i < inner))
          value = widen(x_own[start_of(c, inner, right) + i * right]);
        data[k * width_of(COLUMNS) + n] = value;
      }
      __syncthreads();
      accumulate_tiles(own, given, data);
      __syncthreads();
    }
    Wide* part = parts + (r * gridDim.x + blockIdx.x) * outer * inner;
#pragma unroll
    for (int j = 0; j < MOST; ++j) {
      int m, n;
      place_of<ROWS, COLUMNS, RIGHT_IS_ONE>(worker() + j * WORKERS, m, n);
#pragma unroll
      for (int e = 0; e < HELD; ++e) {
        const Index o = first_row + m + row_of(e), i = first + n + column_of(e);
        if (INSIDE(o < outer) &&
            INSIDE(i < inner))
          part[o * inner + i] = own[j].held[e];
      }
    }
  }
}
