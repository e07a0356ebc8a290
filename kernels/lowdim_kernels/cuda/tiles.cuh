// Products of matrices in shared memory, a tile of the result by a thread or, in TF32, by a warp.
//
// C (m, n) += sum over k of left[k * left_width + m] right[k * right_width + n]. By threads a tile
// is 4 by 4, from two loads of four numbers a step; by warps it is 16 by 8, eight steps at a time.
// Every matrix is padded with zeros to whole UNITs, so that no tile looks where its edge is; its
// rows lie width_of(columns) apart, which spreads the columns of a tile over the banks.
#ifndef TF32
#define TF32 0
#endif

typedef WideOf<SCALAR>::type Wide;

constexpr int THREADS = 256;
constexpr int UNIT = TF32 ? 16 : 4;
constexpr int DOWN = TF32 ? 16 : 4, ACROSS = TF32 ? 8 : 4;
constexpr int HELD = TF32 ? 4 : 16;
constexpr int RUN = TF32 ? 2 : 4;  // of what a worker holds, so many are neighbours in a row
constexpr int WORKERS = TF32 ? THREADS / 32 : THREADS;

__host__ __device__ constexpr int width_of(int columns) {
  return whole(columns, UNIT) + (TF32 ? 8 : 4);
}
__host__ __device__ constexpr int size_of(int rows, int columns) {
  return whole(rows, UNIT) * width_of(columns);
}
__host__ __device__ constexpr int tiles_of(int rows, int columns) {
  return whole(rows, DOWN) / DOWN * (whole(columns, ACROSS) / ACROSS);
}

struct alignas(16) Four {
  Wide at[4];
};

// What a worker holds of a tile, and where in the tile its numbers belong.
struct Tile {
  Wide held[HELD];
};

#if TF32
__device__ __forceinline__ int worker() { return threadIdx.x / 32; }
__device__ __forceinline__ int row_of(int e) { return threadIdx.x % 32 / 4 + 8 * (e / 2); }
__device__ __forceinline__ int column_of(int e) { return threadIdx.x % 4 * 2 + e % 2; }

__device__ __forceinline__ void accumulate(Tile& tile, const Wide* left, int left_width,
                                           const Wide* right, int right_width, int depth) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  for (int k = 0; k < depth; k += 8) {
    const Wide* a = left + (k + t) * left_width + g;
    const Wide* b = right + (k + t) * right_width + g;
    const unsigned four[4] = {tf32_of_float(a[0]), tf32_of_float(a[8]),
                              tf32_of_float(a[4 * left_width]),
                              tf32_of_float(a[4 * left_width + 8])};
    const unsigned two[2] = {tf32_of_float(b[0]), tf32_of_float(b[4 * right_width])};
    multiply_add_tf32(tile.held, four, two);
  }
}
#else
__device__ __forceinline__ int worker() { return threadIdx.x; }
__device__ __forceinline__ int row_of(int e) { return e / 4; }
__device__ __forceinline__ int column_of(int e) { return e % 4; }

__device__ __forceinline__ void accumulate(Tile& tile, const Wide* left, int left_width,
                                           const Wide* right, int right_width, int depth) {
#pragma unroll 4
  for (int k = 0; k < depth; ++k) {
    const Four a = *reinterpret_cast<const Four*>(left + k * left_width);
    const Four b = *reinterpret_cast<const Four*>(right + k * right_width);
#pragma unroll
    for (int e = 0; e < HELD; ++e) tile.held[e] += a.at[e / 4] * b.at[e % 4];
  }
}
#endif

// The first row and column of tile t, neighbours in t one below the other or side by side.
template <int HEIGHT, int WIDTH, bool DOWN_FIRST>
__device__ __forceinline__ void place_of(int t, int& m, int& n) {
  constexpr int down = whole(HEIGHT, DOWN) / DOWN, across = whole(WIDTH, ACROSS) / ACROSS;
  m = DOWN * (DOWN_FIRST ? t % down : t / across);
  n = ACROSS * (DOWN_FIRST ? t / down : t % across);
}

// Calls store(member, m, n, run) for all of `members` products in runs, padding included.
template <int HEIGHT, int WIDTH, int LENGTH, bool DOWN_FIRST, class Store>
__device__ __forceinline__ void products(int members, const Wide* left, int left_step,
                                         const Wide* right, int right_step, Store store) {
  constexpr int tiles = tiles_of(HEIGHT, WIDTH);
  for (int t = worker(); t < members * tiles; t += WORKERS) {
    const int member = t / tiles;
    int m, n;
    place_of<HEIGHT, WIDTH, DOWN_FIRST>(t % tiles, m, n);
    Tile tile = {};
    accumulate(tile, left + member * left_step + m, width_of(HEIGHT),
               right + member * right_step + n, width_of(WIDTH), LENGTH);
#pragma unroll
    for (int e = 0; e < HELD; e += RUN)
      store(member, m + row_of(e), n + column_of(e), tile.held + e);
  }
}
