// W = phi(U V^T), phi(p) = c + sum_j a2_j activation(a1_j p + b1_j), and its gradients.
//
// A block takes a tile of HEIGHT rows by 32 columns; a thread takes ROWS entries of one column. An
// entry of U V^T and what the units make of it stay in registers; units pass by in shared memory.
//
// Constants: SCALAR; ACTIVATION, Silu, Relu or Tanh; ROWS, a multiple of 4; RANKS and UNITS, so
// many of which are in shared memory at a time.
#include "cuda/prelude.cuh"

typedef SCALAR Scalar;
typedef WideOf<Scalar>::type Wide;

constexpr int THREADS = 256, TEAMS = THREADS / 32;
constexpr int HEIGHT = TEAMS * ROWS, WIDTH = 32;
// Four numbers of a row of U^T are one load; neighbours along either axis of V^T lie in 32 banks.
constexpr int U_PITCH = HEIGHT + 4, PITCH = WIDTH + 1;
constexpr int SUMS = 3 * UNITS + 1;
// Blocks that a multiprocessor's registers are shared by.
constexpr int PRODUCT_BLOCKS = 3, GRADIENT_BLOCKS = sizeof(Wide) == 4 ? 2 : 1;

struct alignas(16) Four {
  Wide at[4];
};
struct alignas(16) Unit {
  Wide a1, b1, a2, unused;
};

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float inverse(float x) { return __fdividef(1.0f, x); }
__device__ __forceinline__ double inverse(double x) { return 1 / x; }
__device__ __forceinline__ float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ __forceinline__ double hyperbolic_tangent(double x) { return tanh(x); }

// The value of an activation and its slope. NaN stays NaN.
struct Silu {
  static __device__ __forceinline__ void at(Wide z, Wide& value, Wide& slope) {
    const Wide s = inverse(1 + exponential(-z));
    value = z * s;
    slope = s + value * (1 - s);
  }
};
struct Relu {
  static __device__ __forceinline__ void at(Wide z, Wide& value, Wide& slope) {
    value = z < 0 ? 0 : z;
    slope = z <= 0 ? 0 : 1;
  }
};
struct Tanh {
  static __device__ __forceinline__ void at(Wide z, Wide& value, Wide& slope) {
    value = hyperbolic_tangent(z);
    slope = 1 - value * value;
  }
};

// The operands of one replica.
struct Operands {
  const Scalar *u, *v, *a1, *b1, *a2;
  Index out, in, rank, hidden;
};

// What a block keeps in shared memory.
struct Tiles {
  Unit* units;  // (UNITS)
  Wide* u;      // (RANKS, U_PITCH)
  Wide* v;      // (RANKS, PITCH)
  Wide* rest;
};

__device__ __forceinline__ Tiles tiles_in_shared() {
  DYNAMIC_SHARED(Unit, units);
  Wide* u = reinterpret_cast<Wide*>(units + UNITS);
  Wide* v = u + RANKS * U_PITCH;
  return {units, u, v, v + RANKS * PITCH};
}

__device__ __forceinline__ int least(Index a, int b) { return a < b ? static_cast<int>(a) : b; }

// Stores `ranks` columns of `height` rows of a matrix (rows, rank), turned; zero past its end.
__device__ __forceinline__ void turn(Wide* tile, int pitch, int height, const Scalar* matrix,
                                     Index first_row, Index rows, Index first, int ranks,
                                     Index rank) {
#pragma unroll 2
  for (int e = threadIdx.x; e < height * ranks; e += THREADS) {
    const int row = e / ranks, k = e % ranks;
    const bool is_row = INSIDE(first_row + row < rows);
    const Index at = (first_row + row) * rank + first + k;
    tile[k * pitch + row] = is_row ? widen(matrix[at]) : Wide(0);
  }
}

// Stores the tile's rows of U and V, `ranks` columns from the first on.
__device__ __forceinline__ void turn_factors(const Tiles& tiles, const Operands& o,
                                             Index first_row, Index first_column, Index first,
                                             int ranks) {
  turn(tiles.u, U_PITCH, HEIGHT, o.u, first_row, o.out, first, ranks, o.rank);
  turn(tiles.v, PITCH, WIDTH, o.v, first_column, o.in, first, ranks, o.rank);
}

// Writes this thread's entries of U V^T.
__device__ __forceinline__ void low_rank_entries(const Tiles& tiles, const Operands& o,
                                                 Index first_row, Index first_column, Wide* p) {
  const int lane = threadIdx.x % 32, own_row = threadIdx.x / 32 * ROWS;
#pragma unroll
  for (int k = 0; k < ROWS; ++k) p[k] = 0;
  for (Index first = 0; first < o.rank; first += RANKS) {
    const int ranks = least(o.rank - first, RANKS);
    __syncthreads();
    turn_factors(tiles, o, first_row, first_column, first, ranks);
    __syncthreads();
#pragma unroll 1
    for (int j = 0; j < ranks; ++j) {
      const Wide v = tiles.v[j * PITCH + lane];
#pragma unroll
      for (int k = 0; k < ROWS; k += 4) {
        const Four u = *reinterpret_cast<const Four*>(tiles.u + j * U_PITCH + own_row + k);
#pragma unroll
        for (int n = 0; n < 4; ++n) p[k + n] += u.at[n] * v;
      }
    }
  }
}

// Stores `count` units from the first on.
__device__ __forceinline__ void store_units(Unit* units, const Operands& o, Index first,
                                            int count) {
  for (int j = threadIdx.x; j < count; j += THREADS)
    units[j] = {widen(o.a1[first + j]), widen(o.b1[first + j]), widen(o.a2[first + j]), 0};
}

__device__ __forceinline__ Operands operands_of(Index r, const Scalar* u, const Scalar* v,
                                                const Scalar* a1, const Scalar* b1,
                                                const Scalar* a2, Index out, Index in, Index rank,
                                                Index hidden) {
  return {u + r * out * rank, v + r * in * rank, a1 + r * hidden, b1 + r * hidden,
          a2 + r * hidden,    out,               in,              rank,
          hidden};
}

extern "C" __global__ void __launch_bounds__(THREADS, PRODUCT_BLOCKS)
    product(const Scalar* u, const Scalar* v, const Scalar* a1, const Scalar* b1,
            const Scalar* a2, const Scalar* c, Scalar* w, Index out, Index in, Index rank,
            Index hidden, Index replicas) {
  const Tiles tiles = tiles_in_shared();
  const unsigned across = static_cast<unsigned>((in + WIDTH - 1) / WIDTH);
  const Index first_row = Index(blockIdx.x / across) * HEIGHT;
  const Index first_column = Index(blockIdx.x % across) * WIDTH;
  const Index row = first_row + threadIdx.x / 32 * ROWS, column = first_column + threadIdx.x % 32;
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    const Operands o = operands_of(r, u, v, a1, b1, a2, out, in, rank, hidden);
    Wide p[ROWS], sum[ROWS];
    low_rank_entries(tiles, o, first_row, first_column, p);
#pragma unroll
    for (int k = 0; k < ROWS; ++k) sum[k] = widen(c[r]);
    for (Index first = 0; first < hidden; first += UNITS) {
      const int count = least(hidden - first, UNITS);
      __syncthreads();
      store_units(tiles.units, o, first, count);
      __syncthreads();
#pragma unroll 1
      for (int j = 0; j < count; ++j) {
        const Unit unit = tiles.units[j];
#pragma unroll
        for (int k = 0; k < ROWS; ++k) {
          Wide value, slope;
          ACTIVATION::at(unit.a1 * p[k] + unit.b1, value, slope);
          sum[k] += unit.a2 * value;
        }
      }
    }
#pragma unroll
    for (int k = 0; k < ROWS; ++k)
      if (INSIDE(row + k < out && column < in))
        narrow(sum[k], w[(r * out + row + k) * in + column]);
  }
}

__device__ __forceinline__ Wide sum_of_lanes(Wide value) {
#pragma unroll
  for (int distance = 16; distance; distance /= 2)
    value += __shfl_down_sync(0xffffffffu, value, distance);
  return value;
}

// Leaves a team's sums of a unit: those of slope g p and slope g, without a2, and of value g; adds
// to the changes of p.
__device__ __forceinline__ void unit_gradients(const Unit& unit, const Wide* p, const Wide* g,
                                               Wide* change, Wide* sums) {
  Wide of_a1 = 0, of_b1 = 0, of_a2 = 0;
#pragma unroll
  for (int k = 0; k < ROWS; ++k) {
    Wide value, slope;
    ACTIVATION::at(unit.a1 * p[k] + unit.b1, value, slope);
    slope *= g[k];
    of_a1 += slope * p[k];
    of_b1 += slope;
    of_a2 += g[k] * value;
    change[k] += unit.a1 * unit.a2 * slope;
  }
  of_a1 = sum_of_lanes(of_a1);
  of_b1 = sum_of_lanes(of_b1);
  of_a2 = sum_of_lanes(of_a2);
  if (threadIdx.x % 32 == 0) {
    sums[0] = of_a1;
    sums[1] = of_b1;
    sums[2] = of_a2;
  }
}

// Writes the tile's part of the gradients of a1, b1, a2 and c, (3 hidden + 1), and the changes of
// p.
__device__ __forceinline__ void network_gradients(const Tiles& tiles, const Operands& o,
                                                  const Wide* p, const Wide* g, Wide* change,
                                                  Wide* part) {
  const int lane = threadIdx.x % 32, team = threadIdx.x / 32;
  Wide* sums = tiles.rest;  // (TEAMS, SUMS)
  Wide of_c = 0;
#pragma unroll
  for (int k = 0; k < ROWS; ++k) {
    of_c += g[k];
    change[k] = 0;
  }
  of_c = sum_of_lanes(of_c);
  for (Index first = 0; first == 0 || first < o.hidden; first += UNITS) {
    const int count = least(o.hidden - first, UNITS);
    __syncthreads();
    store_units(tiles.units, o, first, count);
    __syncthreads();
#pragma unroll 1
    for (int j = 0; j < count; ++j)
      unit_gradients(tiles.units[j], p, g, change, sums + team * SUMS + 3 * j);
    if (lane == 0) sums[team * SUMS + 3 * count] = of_c;
    __syncthreads();
    for (int e = threadIdx.x; e <= 3 * count; e += THREADS) {
      Wide total = 0;
      for (int other = 0; other < TEAMS; ++other) total += sums[other * SUMS + e];
      if (e % 3 < 2 && e < 3 * count) total *= tiles.units[e / 3].a2;
      const Index at = e < 3 * count ? e % 3 * o.hidden + first + e / 3 : 3 * o.hidden;
      part[at] = total;
    }
  }
}

// Writes the tile's parts of the gradients of U, (out, rank), and of V, (in, rank).
__device__ __forceinline__ void factor_gradients(const Tiles& tiles, const Operands& o,
                                                 const Wide* change, Index first_row,
                                                 Index first_column, Wide* u_part, Wide* v_part) {
  const int lane = threadIdx.x % 32, own_row = threadIdx.x / 32 * ROWS;
  Wide* changes = tiles.rest + TEAMS * SUMS;  // (HEIGHT, PITCH)
#pragma unroll
  for (int k = 0; k < ROWS; ++k) changes[(own_row + k) * PITCH + lane] = change[k];
  for (Index first = 0; first < o.rank; first += RANKS) {
    const int ranks = least(o.rank - first, RANKS);
    __syncthreads();
    turn_factors(tiles, o, first_row, first_column, first, ranks);
    __syncthreads();
    for (int e = threadIdx.x; e < ranks * HEIGHT; e += THREADS) {
      const int row = e % HEIGHT, k = e / HEIGHT;
      Wide sum = 0;
#pragma unroll 4
      for (int j = 0; j < WIDTH; ++j) sum += changes[row * PITCH + j] * tiles.v[k * PITCH + j];
      if (INSIDE(first_row + row < o.out)) u_part[(first_row + row) * o.rank + first + k] = sum;
    }
    for (int e = threadIdx.x; e < ranks * WIDTH; e += THREADS) {
      const int column = e % WIDTH, k = e / WIDTH;
      Wide sum = 0;
#pragma unroll 4
      for (int i = 0; i < HEIGHT; ++i)
        sum += changes[i * PITCH + column] * tiles.u[k * U_PITCH + i];
      if (INSIDE(first_column + column < o.in))
        v_part[(first_column + column) * o.rank + first + k] = sum;
    }
  }
}

// What the tiles leave of the gradients: of U (replicas, tiles across, out, rank), of V (replicas,
// tiles down, in, rank), of the network (replicas, tiles, 3 hidden + 1), one behind the other.
struct Parts {
  Wide *u, *v, *network;
};
__device__ __forceinline__ Parts parts_in(Wide* scratch, Index out, Index in, Index rank,
                                          Index across, Index down, Index replicas) {
  Wide* const v = scratch + replicas * across * out * rank;
  return {scratch, v, v + replicas * down * in * rank};
}

extern "C" __global__ void __launch_bounds__(THREADS, GRADIENT_BLOCKS)
    gradient_parts(const Scalar* g, const Scalar* u, const Scalar* v, const Scalar* a1,
                   const Scalar* b1, const Scalar* a2, Wide* scratch, Index out, Index in,
                   Index rank, Index hidden, Index replicas) {
  const Tiles tiles = tiles_in_shared();
  const unsigned across = static_cast<unsigned>((in + WIDTH - 1) / WIDTH);
  const Index down = (out + HEIGHT - 1) / HEIGHT;
  const Parts parts = parts_in(scratch, out, in, rank, across, down, replicas);
  const Index tile_row = blockIdx.x / across, tile_column = blockIdx.x % across;
  const Index first_row = tile_row * HEIGHT, first_column = tile_column * WIDTH;
  const Index row = first_row + threadIdx.x / 32 * ROWS, column = first_column + threadIdx.x % 32;
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    const Operands o = operands_of(r, u, v, a1, b1, a2, out, in, rank, hidden);
    Wide p[ROWS], own[ROWS], change[ROWS];
    low_rank_entries(tiles, o, first_row, first_column, p);
#pragma unroll
    for (int k = 0; k < ROWS; ++k) {
      const bool is_entry = INSIDE(row + k < out && column < in);
      own[k] = is_entry ? widen(g[(r * out + row + k) * in + column]) : Wide(0);
    }
    network_gradients(tiles, o, p, own, change,
                      parts.network + (r * down * across + blockIdx.x) * (3 * hidden + 1));
    factor_gradients(tiles, o, change, first_row, first_column,
                     parts.u + (r * across + tile_column) * out * rank,
                     parts.v + (r * down + tile_row) * in * rank);
  }
}

// The sum over p of parts[r, p, e], parts (replicas, number, count), for the lanes' 32 numbers e.
// Each team takes every eighth part; the first team returns the sum.
__device__ __forceinline__ Wide sum_of_teams(const Wide* parts, Index r, Index number, Index count,
                                             Index e) {
  DYNAMIC_SHARED(Wide, memory);
  const int lane = threadIdx.x % 32, team = threadIdx.x / 32;
  Wide total = 0;
  if (INSIDE(e < count))
    for (Index p = team; p < number; p += TEAMS) total += parts[(r * number + p) * count + e];
  __syncthreads();
  memory[threadIdx.x] = total;
  __syncthreads();
  for (int other = 1; other < TEAMS; ++other) total += memory[other * 32 + lane];
  return total;
}

// Adds up the parts: blocks along x take 32 numbers of U, then of V, then of the network.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    gradients(Wide* scratch, Scalar* du, Scalar* dv, Scalar* da1, Scalar* db1, Scalar* da2,
              Scalar* dc, Index out, Index in, Index rank, Index hidden, Index across, Index down,
              Index replicas) {
  const Parts parts = parts_in(scratch, out, in, rank, across, down, replicas);
  const Index u_count = out * rank, v_count = in * rank, count = 3 * hidden + 1;
  const Index u_blocks = (u_count + 31) / 32, v_blocks = (v_count + 31) / 32;
  const Index block = blockIdx.x, lane = threadIdx.x % 32;
  const bool writes = threadIdx.x < 32;
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    if (block < u_blocks) {
      const Index e = block * 32 + lane;
      const Wide total = sum_of_teams(parts.u, r, across, u_count, e);
      if (INSIDE(e < u_count) && writes) narrow(total, du[r * u_count + e]);
    } else if (block < u_blocks + v_blocks) {
      const Index e = (block - u_blocks) * 32 + lane;
      const Wide total = sum_of_teams(parts.v, r, down, v_count, e);
      if (INSIDE(e < v_count) && writes) narrow(total, dv[r * v_count + e]);
    } else {
      const Index e = (block - u_blocks - v_blocks) * 32 + lane;
      const Wide total = sum_of_teams(parts.network, r, across * down, count, e);
      if (INSIDE(e < count) && writes) {
        const bool is_c = e == 3 * hidden;
        Scalar* const units = e < hidden ? da1 : e < 2 * hidden ? db1 : da2;
        narrow(total, is_c ? dc[r] : units[r * hidden + e % hidden]);
      }
    }
  }
}
