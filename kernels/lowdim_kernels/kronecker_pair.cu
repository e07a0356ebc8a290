// Products with two small factors, both inside shared memory: Y = A1 X A2^T for samples X.
//
// A1 (O1, I1) and A2 (O2, I2) stay in shared memory while a block works through its samples,
// GROUP of them at a time; what lies between the two products never leaves it.
// Constants: SCALAR, O1, I1, O2, I2, GROUP, TF32 and, for the gradients, X_NEEDED.
#include "cuda/prelude.cuh"
#include "cuda/tiles.cuh"

// Where a factor lies: strides by replica, row and column.
struct Factor {
  const SCALAR* start;
  Index row, column;
  __device__ __forceinline__ Wide at(int o, int i) const {
    return widen(start[o * row + i * column]);
  }
};

// The numbers that the block's shared memory holds.
constexpr int PRODUCT_SIZE =
    size_of(I1, O1) + size_of(I2, O2) + GROUP * (size_of(I1, I2) + size_of(I2, O1));
constexpr int SAMPLE_SIZE = size_of(I1, I2) + size_of(I2, I1) + size_of(O1, O2) + size_of(O2, O1) +
                            size_of(I1, O2) + size_of(O2, I1) + size_of(I2, O1);
constexpr int GRADIENTS_SIZE = size_of(O1, I1) + size_of(O2, I2) + GROUP * SAMPLE_SIZE;

__device__ __forceinline__ void fill_with_zeros(Wide* memory, int size) {
  for (int e = threadIdx.x; e < size; e += THREADS) memory[e] = 0;
}

// Numbers of a row that are stored together.
struct alignas(RUN * sizeof(SCALAR)) Run {
  SCALAR at[RUN];
};

// Stores a run of a row at `column`; ALIGNED where a row holds whole runs.
template <bool ALIGNED>
__device__ __forceinline__ void store_run(const Wide* run, SCALAR* row, int column, int columns) {
  if constexpr (ALIGNED) {
    Run narrowed;
#pragma unroll
    for (int j = 0; j < RUN; ++j) narrow(run[j], narrowed.at[j]);
    if (INSIDE(column < columns)) *reinterpret_cast<Run*>(row + column) = narrowed;
  } else {
#pragma unroll
    for (int j = 0; j < RUN; ++j)
      if (INSIDE(column + j < columns)) narrow(run[j], row[column + j]);
  }
}

// Puts a run of a row into a column, at rows `row` and below.
__device__ __forceinline__ void put_down(const Wide* run, Wide* column, int row, int width) {
#pragma unroll
  for (int j = 0; j < RUN; ++j) column[(row + j) * width] = run[j];
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    pair_product(const SCALAR* x, const SCALAR* a1, const SCALAR* a2, SCALAR* y, Index samples,
                 Index replicas, Index x_step, Index step1, Index row1, Index column1,
                 Index step2, Index row2, Index column2) {
  DYNAMIC_SHARED(Wide, memory);
  Wide* turned1 = memory;                      // A1 as (i1, o1)
  Wide* turned2 = turned1 + size_of(I1, O1);   // A2 as (i2, o2)
  Wide* sample = turned2 + size_of(I2, O2);    // X as (i1, i2)
  Wide* between = sample + GROUP * size_of(I1, I2);  // A1 X as (i2, o1)
  fill_with_zeros(memory, PRODUCT_SIZE);
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    const Factor first = {a1 + r * step1, row1, column1};
    const Factor second = {a2 + r * step2, row2, column2};
    __syncthreads();
    for (int e = threadIdx.x; e < O1 * I1; e += THREADS)
      turned1[e % I1 * width_of(O1) + e / I1] = first.at(e / I1, e % I1);
    for (int e = threadIdx.x; e < O2 * I2; e += THREADS)
      turned2[e % I2 * width_of(O2) + e / I2] = second.at(e / I2, e % I2);
    for (Index s = Index(blockIdx.x) * GROUP; s < samples; s += Index(gridDim.x) * GROUP) {
      const SCALAR* source = x + r * x_step + s * (I1 * I2);
      for (int e = threadIdx.x; e < GROUP * I1 * I2; e += THREADS) {
        const int member = e / (I1 * I2), i1 = e / I2 % I1;
        if (INSIDE(s + member < samples))
          sample[member * size_of(I1, I2) + i1 * width_of(I2) + e % I2] = widen(source[e]);
      }
      __syncthreads();
      products<O1, I2, I1, true>(
          GROUP, turned1, 0, sample, size_of(I1, I2),
          [&](int member, int o1, int i2, const Wide* run) {
            put_down(run, between + member * size_of(I2, O1) + o1, i2, width_of(O1));
          });
      __syncthreads();
      SCALAR* target = y + (r * samples + s) * (O1 * O2);
      products<O1, O2, I2, false>(
          GROUP, between, size_of(I2, O1), turned2, 0,
          [&](int member, int o1, int o2, const Wide* run) {
            if (INSIDE(o1 < O1) &&
                INSIDE(s + member < samples))
              store_run<O2 % RUN == 0>(run, target + (member * O1 + o1) * O2, o2, O2);
          });
    }
  }
}

// The sum over samples of a product, held in registers from sample to sample. Where there are
// more workers than tiles, several share a tile, each for its own members of the group.
template <int ROWS, int COLUMNS>
struct Sum {
  static constexpr int tiles = tiles_of(ROWS, COLUMNS);
  static constexpr int shares = WORKERS / tiles < 1 ? 1 : WORKERS / tiles;
  static constexpr int most = (tiles + WORKERS - 1) / WORKERS;
  Tile own[most];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int j = 0; j < most; ++j) own[j] = Tile{};
  }
  template <int DEPTH>
  __device__ __forceinline__ void add(int members, const Wide* left, int left_step,
                                      const Wide* right, int right_step) {
    if (worker() >= shares * tiles && shares > 1) return;
#pragma unroll
    for (int j = 0; j < most; ++j) {
      const int t = worker() + j * WORKERS;
      if (t >= shares * tiles) return;
      int m, n;
      place_of<ROWS, COLUMNS, true>(t % tiles, m, n);
      for (int member = t / tiles; member < members; member += shares)
        accumulate(own[j], left + member * left_step + m, width_of(ROWS),
                   right + member * right_step + n, width_of(COLUMNS), DEPTH);
    }
  }
  // Leaves the sum of all shares in `target`; `space` holds shares * ROWS * COLUMNS numbers.
  __device__ __forceinline__ void write(Wide* space, Wide* target) const {
#pragma unroll
    for (int j = 0; j < most; ++j) {
      const int t = worker() + j * WORKERS;
      if (t >= shares * tiles) break;
      int m, n;
      place_of<ROWS, COLUMNS, true>(t % tiles, m, n);
#pragma unroll
      for (int e = 0; e < HELD; ++e) {
        const int row = m + row_of(e), column = n + column_of(e);
        if (INSIDE(row < ROWS) &&
            INSIDE(column < COLUMNS))
          space[(t / tiles * ROWS + row) * COLUMNS + column] = own[j].held[e];
      }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < ROWS * COLUMNS; e += THREADS) {
      Wide total = 0;
      for (int share = 0; share < shares; ++share) total += space[share * ROWS * COLUMNS + e];
      target[e] = total;
    }
  }
};

constexpr int SPACE1 = Sum<O1, I1>::shares * O1 * I1, SPACE2 = Sum<O2, I2>::shares * O2 * I2;

// Writes dX and, for each block, its samples' part of dA1 (O1, I1) and dA2 (O2, I2).
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    pair_gradients(const SCALAR* g, const SCALAR* x, const SCALAR* a1, const SCALAR* a2,
                   SCALAR* dx, Wide* parts1, Wide* parts2, Index samples, Index replicas,
                   Index x_step, Index step1, Index row1, Index column1, Index step2, Index row2,
                   Index column2) {
  DYNAMIC_SHARED(Wide, memory);
  Wide* plain1 = memory;                               // A1 as (o1, i1)
  Wide* plain2 = plain1 + size_of(O1, I1);             // A2 as (o2, i2)
  Wide* sample = plain2 + size_of(O2, I2);             // X as (i1, i2)
  Wide* sample_t = sample + GROUP * size_of(I1, I2);   // X as (i2, i1)
  Wide* given = sample_t + GROUP * size_of(I2, I1);    // G as (o1, o2)
  Wide* given_t = given + GROUP * size_of(O1, O2);     // G as (o2, o1)
  Wide* left = given_t + GROUP * size_of(O2, O1);      // A1^T G as (i1, o2)
  Wide* left_t = left + GROUP * size_of(I1, O2);       // A1^T G as (o2, i1)
  Wide* right_t = left_t + GROUP * size_of(O2, I1);    // G A2 as (i2, o1)
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    const Factor first = {a1 + r * step1, row1, column1};
    const Factor second = {a2 + r * step2, row2, column2};
    fill_with_zeros(memory, GRADIENTS_SIZE);
    __syncthreads();
    for (int e = threadIdx.x; e < O1 * I1; e += THREADS)
      plain1[e / I1 * width_of(I1) + e % I1] = first.at(e / I1, e % I1);
    for (int e = threadIdx.x; e < O2 * I2; e += THREADS)
      plain2[e / I2 * width_of(I2) + e % I2] = second.at(e / I2, e % I2);
    Sum<O1, I1> sum1;
    Sum<O2, I2> sum2;
    sum1.clear();
    sum2.clear();
    for (Index s = Index(blockIdx.x) * GROUP; s < samples; s += Index(gridDim.x) * GROUP) {
      const SCALAR* x_source = x + r * x_step + s * (I1 * I2);
      const SCALAR* g_source = g + (r * samples + s) * (O1 * O2);
      for (int e = threadIdx.x; e < GROUP * I1 * I2; e += THREADS) {
        const int member = e / (I1 * I2), i1 = e / I2 % I1, i2 = e % I2;
        Wide value = 0;
        if (INSIDE(s + member < samples)) value = widen(x_source[e]);
        sample[member * size_of(I1, I2) + i1 * width_of(I2) + i2] = value;
        sample_t[member * size_of(I2, I1) + i2 * width_of(I1) + i1] = value;
      }
      for (int e = threadIdx.x; e < GROUP * O1 * O2; e += THREADS) {
        const int member = e / (O1 * O2), o1 = e / O2 % O1, o2 = e % O2;
        Wide value = 0;
        if (INSIDE(s + member < samples)) value = widen(g_source[e]);
        given[member * size_of(O1, O2) + o1 * width_of(O2) + o2] = value;
        given_t[member * size_of(O2, O1) + o2 * width_of(O1) + o1] = value;
      }
      __syncthreads();
      products<I1, O2, O1, true>(
          GROUP, plain1, 0, given, size_of(O1, O2),
          [&](int member, int i1, int o2, const Wide* run) {
            put_down(run, left_t + member * size_of(O2, I1) + i1, o2, width_of(I1));
            Wide* row = left + member * size_of(I1, O2) + i1 * width_of(O2);
#pragma unroll
            for (int j = 0; j < RUN; ++j) row[o2 + j] = run[j];
          });
      products<O1, I2, O2, true>(
          GROUP, given_t, size_of(O2, O1), plain2, 0,
          [&](int member, int o1, int i2, const Wide* run) {
            put_down(run, right_t + member * size_of(I2, O1) + o1, i2, width_of(O1));
          });
      __syncthreads();
#if X_NEEDED
      SCALAR* target = dx + (r * samples + s) * (I1 * I2);
      products<I1, I2, O2, false>(
          GROUP, left_t, size_of(O2, I1), plain2, 0,
          [&](int member, int i1, int i2, const Wide* run) {
            if (INSIDE(i1 < I1) &&
                INSIDE(s + member < samples))
              store_run<I2 % RUN == 0>(run, target + (member * I1 + i1) * I2, i2, I2);
          });
#endif
      sum1.template add<I2>(GROUP, right_t, size_of(I2, O1), sample_t, size_of(I2, I1));
      sum2.template add<I1>(GROUP, left, size_of(I1, O2), sample, size_of(I1, I2));
      __syncthreads();
    }
    const Index part = r * gridDim.x + blockIdx.x;
    sum1.write(memory, parts1 + part * (O1 * I1));
    sum2.write(memory + SPACE1, parts2 + part * (O2 * I2));
    __syncthreads();
  }
}
