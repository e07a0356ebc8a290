// Products with a matrix of which only some entries are stored, by rows, and their gradient.
//
// A block holds 32 rows of the data in shared memory, turned, so that the 32 lanes of a warp are
// 32 rows: an entry of the matrix is then one load for the warp and one multiply-add a lane. PITCH
// is odd, so that 32 neighbours lie in 32 banks along both axes of a tile.
//
// Constants: SCALAR; LONG, the entries beyond which a feature's sum is shared by the block, in
// PARTS; ENTRIES of a thread in the gradient.
#include "cuda/prelude.cuh"

typedef SCALAR Scalar;
typedef WideOf<Scalar>::type Wide;

constexpr int ROWS = 32, PITCH = 33, LOADS = 8;
// Blocks of the gradient that a multiprocessor's registers are shared by.
constexpr int GRADIENT_BLOCKS = sizeof(Wide) == 4 ? 2 : 1;

// Two entries of the matrix: where their columns begin in the tile, and their values.
struct alignas(16) Pair {
  int place[2];
  Wide value[2];
};

__device__ __forceinline__ int lane_of() { return threadIdx.x % 32; }
__device__ __forceinline__ int warp_of() { return threadIdx.x / 32; }
__device__ __forceinline__ int warps_of() { return blockDim.x / 32; }

// Stores `width` columns of 32 rows at tile[column * PITCH + row], zero past the last row. A lane
// asks for LOADS numbers before it waits for any.
__device__ __forceinline__ void turn(Wide* tile, const Scalar* data, Index all_columns,
                                     Index first_column, int width, Index first_row, Index rows) {
  for (int row = warp_of(); row < ROWS; row += warps_of()) {
    const bool is_row = INSIDE(first_row + row < rows);
    const Scalar* source = data + (is_row ? first_row + row : 0) * all_columns + first_column;
    for (int column = lane_of(); column < width; column += 32 * LOADS) {
      Wide number[LOADS];
#pragma unroll
      for (int n = 0; n < LOADS; ++n)
        number[n] = widen(source[min(column + 32 * n, width - 1)]);
#pragma unroll
      for (int n = 0; n < LOADS; ++n)
        if (column + 32 * n < width)
          tile[(column + 32 * n) * PITCH + row] = is_row ? number[n] : Wide(0);
    }
  }
}

// The first of a feature's entries [first, last) whose column, of `all`, is not below `bound`;
// columns ascend.
__device__ __forceinline__ int first_from(const int* columns, int first, int last, Index bound,
                                          Index all) {
  if (bound >= all) return last;
  if (bound <= 0) return first;
  while (first < last) {
    const int middle = first + (last - first) / 2;
    if (columns[middle] < bound)
      first = middle + 1;
    else
      last = middle;
  }
  return first;
}

// The stored entries of one replica; in another order than their values where there are positions.
struct Entries {
  const int* columns;
  const int* positions;
  const Scalar* values;
  __device__ __forceinline__ Wide value(Index entry) const {
    return widen(values[positions ? positions[entry] : entry]);
  }
};

// An entry as a lane brings it to its warp's list.
struct Fetched {
  int place;
  Wide value;
};

// The lane's entry, or zero times the column `none` of zeros past the last one.
__device__ __forceinline__ Fetched fetch(Entries entries, Index entry, Index last,
                                         Index first_column, int none) {
  if (INSIDE(entry < last))
    return {static_cast<int>(entries.columns[entry] - first_column) * PITCH, entries.value(entry)};
  return {none, 0};
}

// The sum for this lane's row over the entries first to first + 31, those `stride` further on, and
// so forth below `last`. Lanes fetch an entry each for all, the next ones while these are summed;
// `list` is the warp's own.
__device__ __forceinline__ Wide dot(const Wide* tile, Pair* list, Entries entries, Index first,
                                    Index last, int stride, Index first_column, int none) {
  const int lane = lane_of();
  Wide sum = 0;
  Fetched fetched = fetch(entries, first + lane, last, first_column, none);
  for (Index at = first; at < last; at += stride) {
    __syncwarp();
    list[lane / 2].place[lane % 2] = fetched.place;
    list[lane / 2].value[lane % 2] = fetched.value;
    __syncwarp();
    fetched = fetch(entries, at + stride + lane, last, first_column, none);
    const int count = static_cast<int>(min(Index(32), last - at));
    for (int k = 0; k < count; k += 4) {
      const Pair a = list[k / 2], b = list[k / 2 + 1];
      sum += a.value[0] * tile[a.place[0] + lane];
      sum += a.value[1] * tile[a.place[1] + lane];
      sum += b.value[0] * tile[b.place[0] + lane];
      sum += b.value[1] * tile[b.place[1] + lane];
    }
  }
  return sum;
}

// y (rows, out) = x (rows, in) W^T + bias for 32 rows and `features` of out. The sums of a feature
// belong to the same warp throughout.
__device__ __forceinline__ void
product_of_block(const Scalar* x, const Scalar* bias, const int* offsets,
                 Entries entries, Scalar* y, Index rows, Index in, Index out,
                 int chunk, int features, Index first_row, Index first_feature) {
  DYNAMIC_SHARED(Pair, lists);
  Wide* tile = reinterpret_cast<Wide*>(lists + warps_of() * (ROWS / 2));
  Wide* sums = tile + (chunk + 1) * PITCH;
  Wide* parts = sums + features * PITCH;
  int* begins = reinterpret_cast<int*>(parts + 2 * PARTS * PITCH);
  int* ends = begins + features;
  const int lane = lane_of(), warp = warp_of(), warps = warps_of(), none = chunk * PITCH;
  const int own = static_cast<int>(min(Index(features), out - first_feature));
  Pair* list = lists + warp * (ROWS / 2);

  for (int f = threadIdx.x; f < own; f += blockDim.x) ends[f] = offsets[f];
  for (int f = warp; f < own; f += warps)
    sums[f * PITCH + lane] = bias ? widen(bias[f]) : Wide(0);
  if (warp == 0) tile[none + lane] = 0;
  for (Index first = 0; first < in; first += chunk) {
    const int width = static_cast<int>(min(Index(chunk), in - first));
    __syncthreads();
    turn(tile, x, in, first, width, first_row, rows);
    for (int f = threadIdx.x; f < own; f += blockDim.x) {
      begins[f] = ends[f];
      ends[f] = first_from(entries.columns, begins[f], offsets[f + 1], first + width, in);
    }
    __syncthreads();
    int some_long = 0;
    for (int f = lane; f < own; f += 32) some_long |= ends[f] - begins[f] > LONG;
    some_long = __any_sync(0xffffffffu, some_long);
    for (int f = warp; f < own; f += warps)
      if (ends[f] - begins[f] <= LONG)
        sums[f * PITCH + lane] +=
            dot(tile, list, entries, begins[f], ends[f], 32, first, none);
    // One warp adds up the parts of a feature while the others go on to the next one's.
    Wide *filled = parts, *other = parts + PARTS * PITCH;
    for (int f = 0; some_long && f < own; ++f) {
      if (ends[f] - begins[f] <= LONG) continue;
      for (int part = warp; part < PARTS; part += warps)
        filled[part * PITCH + lane] =
            dot(tile, list, entries, begins[f] + part * 32, ends[f], PARTS * 32, first, none);
      __syncthreads();
      if (warp == f % warps)
        for (int part = 0; part < PARTS; ++part)
          sums[f * PITCH + lane] += filled[part * PITCH + lane];
      Wide* const next = other;
      other = filled;
      filled = next;
    }
  }
  __syncthreads();
  for (int row = warp; row < ROWS; row += warps)
    if (INSIDE(first_row + row < rows))
      for (int f = lane; f < own; f += 32)
        narrow(sums[f * PITCH + row], y[(first_row + row) * out + first_feature + f]);
}

extern "C" __global__ void __launch_bounds__(1024, 1)
    product(const Scalar* x, const Scalar* values, const Scalar* bias, const int* offsets,
            const int* columns, const int* positions, Scalar* y, Index rows, Index in, Index out,
            Index replicas, Index chunk, Index features, Index has_bias, Index has_positions,
            Index x_step, Index values_step, Index bias_step, Index offsets_step,
            Index columns_step, Index positions_step) {
  const Index blocks = (out + features - 1) / features;
  const Index first_row = blockIdx.x / blocks * ROWS;
  const Index first_feature = blockIdx.x % blocks * features;
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    __syncthreads();
    const Entries entries = {columns + r * columns_step,
                             has_positions ? positions + r * positions_step : nullptr,
                             values + r * values_step};
    product_of_block(x + r * x_step, has_bias ? bias + r * bias_step + first_feature : nullptr,
                     offsets + r * offsets_step + first_feature, entries, y + r * rows * out, rows,
                     in, out, static_cast<int>(chunk), static_cast<int>(features), first_row,
                     first_feature);
  }
}

// What a block of the gradient takes: features of g by columns of x by some tiles of rows.
struct Part {
  int first_feature, features, first_column, columns, first_tile, last_tile;
};

// The number of the last of `count` ascending numbers that is not above `bound`.
__device__ __forceinline__ int last_not_above(const int* numbers, int count, int bound) {
  int first = 0;
  while (count > 1) {
    const int half = count / 2;
    if (numbers[first + half] <= bound) first += half;
    count -= half;
  }
  return first;
}

// The sum of an entry's products over 32 rows. Lanes take the rows in turn, each from another one
// on: as PITCH is 1 modulo 32, a lane then reads x from a bank of its own, whatever the columns
// are; and g too, or what another lane reads, where the lanes' entries are in one feature.
__device__ __forceinline__ Wide sum_of_rows(const Wide* x, const Wide* g, int x_place) {
  Wide sum = 0;
#pragma unroll 8
  for (int step = lane_of(); step < lane_of() + ROWS; ++step) {
    const int row = static_cast<unsigned>(step - x_place) % ROWS;
    sum += g[row] * x[row];
  }
  return sum;
}

// target[e] = sum over the part's rows of g[row, feature of e] x[row, column of e], for the
// entries in the part. Entries go to threads in their order, whatever feature they belong to.
template <class Target>
__device__ __forceinline__ void gradient_of_part(const Scalar* g, const Scalar* x,
                                                 const int* offsets, const int* all_columns,
                                                 Target* target, Part part, int features,
                                                 int columns, Index rows, Index in, Index out) {
  DYNAMIC_SHARED(Wide, x_tile);
  Wide* g_tile = x_tile + columns * PITCH;
  int* begins = reinterpret_cast<int*>(g_tile + features * PITCH);
  int* counts = begins + features;
  int* before = counts + features;

  offsets += part.first_feature;
  for (int f = threadIdx.x; f < part.features; f += blockDim.x) {
    const Index end = part.first_column + part.columns;
    begins[f] = first_from(all_columns, offsets[f], offsets[f + 1], part.first_column, in);
    counts[f] = first_from(all_columns, begins[f], offsets[f + 1], end, in) - begins[f];
  }
  __syncthreads();
  for (int f = threadIdx.x; f <= part.features; f += blockDim.x) {
    int total = 0;
    for (int k = 0; k < f; ++k) total += counts[k];
    before[f] = total;
  }
  __syncthreads();
  const int total = before[part.features];
  for (int base = 0; base < total; base += ENTRIES * blockDim.x) {
    int entry[ENTRIES], x_place[ENTRIES], g_place[ENTRIES];
    Wide sum[ENTRIES];
#pragma unroll
    for (int j = 0; j < ENTRIES; ++j) {
      const int number = base + j * blockDim.x + threadIdx.x;
      entry[j] = -1;
      sum[j] = 0;
      x_place[j] = g_place[j] = 0;
      if (INSIDE(number < total)) {
        const int f = last_not_above(before, part.features, number);
        entry[j] = begins[f] + number - before[f];
        x_place[j] = (all_columns[entry[j]] - part.first_column) * PITCH;
        g_place[j] = f * PITCH;
      }
    }
    for (int tile = part.first_tile; tile < part.last_tile; ++tile) {
      __syncthreads();
      turn(x_tile, x, in, part.first_column, part.columns, Index(tile) * ROWS, rows);
      turn(g_tile, g, out, part.first_feature, part.features, Index(tile) * ROWS, rows);
      __syncthreads();
#pragma unroll
      for (int j = 0; j < ENTRIES; ++j)
        if (base + j * blockDim.x + 32 * warp_of() < total)
          sum[j] += sum_of_rows(x_tile + x_place[j], g_tile + g_place[j], x_place[j]);
    }
#pragma unroll
    for (int j = 0; j < ENTRIES; ++j)
      if (entry[j] >= 0) narrow(sum[j], target[entry[j]]);
  }
}

template <class Target>
__device__ __forceinline__ void
gradient_of_replicas(const Scalar* g, const Scalar* x, const int* offsets, const int* all_columns,
                     Target* target, Index rows, Index in, Index out, Index nnz, Index replicas,
                     Index columns, Index features, Index share, Index splits, Index g_step,
                     Index x_step, Index offsets_step, Index columns_step) {
  const Index across = (in + columns - 1) / columns, down = (out + features - 1) / features;
  const Index split = blockIdx.x / (across * down), tiles = (rows + ROWS - 1) / ROWS;
  Part part;
  part.first_feature = static_cast<int>(blockIdx.x % down * features);
  part.first_column = static_cast<int>(blockIdx.x / down % across * columns);
  part.first_tile = static_cast<int>(split * share);
  part.last_tile = static_cast<int>(min(tiles, split * share + share));
  part.features = static_cast<int>(min(features, out - part.first_feature));
  part.columns = static_cast<int>(min(columns, in - part.first_column));
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y)
    gradient_of_part(g + r * g_step, x + r * x_step, offsets + r * offsets_step,
                     all_columns + r * columns_step, target + (r * splits + split) * nnz, part,
                     static_cast<int>(features), static_cast<int>(columns), rows, in, out);
}

extern "C" __global__ void __launch_bounds__(512, GRADIENT_BLOCKS)
    gradient(const Scalar* g, const Scalar* x, const int* offsets, const int* all_columns,
             Scalar* target, Index rows, Index in, Index out, Index nnz, Index replicas,
             Index columns, Index features, Index share, Index splits, Index g_step, Index x_step,
             Index offsets_step, Index columns_step) {
  gradient_of_replicas(g, x, offsets, all_columns, target, rows, in, out, nnz, replicas, columns,
                       features, share, splits, g_step, x_step, offsets_step, columns_step);
}

// The same for a target (replicas, splits, nnz) of parts of sums over rows.
extern "C" __global__ void __launch_bounds__(512, GRADIENT_BLOCKS)
    gradient_parts(const Scalar* g, const Scalar* x, const int* offsets, const int* all_columns,
                   Wide* target, Index rows, Index in, Index out, Index nnz, Index replicas,
                   Index columns, Index features, Index share, Index splits, Index g_step,
                   Index x_step, Index offsets_step, Index columns_step) {
  gradient_of_replicas(g, x, offsets, all_columns, target, rows, in, out, nnz, replicas, columns,
                       features, share, splits, g_step, x_step, offsets_step, columns_step);
}
