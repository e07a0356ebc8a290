// Leading singular triplets of matrices m by n, m >= n, n at most 16 ELEMENTS: one block a matrix.
//
// decompose: a triangular L, L L^T = g^T g, by pivoted Cholesky factorisation of the Gram matrix
// (float32: products of float32 are exact in float64, so that it sees 1e-7 of the largest value)
// or by reflections (float64). Rotations make the columns of L orthogonal, then they are V S.
// U is g V / S, made orthonormal.
// iterate: subspace iteration from a start, then the same for g^T times the last block.
// invert: the inverse of Cholesky's factor, for blocks of columns of larger matrices.
//
// Nothing here depends on the matrices beside. Status: 0, or 1 where a matrix is not finite, or 2
// where its rank does not fit; such a matrix becomes NaN.
#include "cuda/prelude.cuh"
#include "svd_products.cuh"
#include "svd_orthonormal.cuh"
#include "svd_rotations.cuh"
#include "svd_reflections.cuh"

// Writes down what this block works on; false where that is settled with it: a matrix that is not
// finite, or whose rank does not fit, becomes NaN, what is beyond its rank zero.
__device__ __noinline__ bool begin_task(const SCALAR* g, SCALAR* u, SCALAR* values, SCALAR* v,
                                        const Index* ranks, Index* status, Index m, Index n,
                                        Index k, Index chunk) {
  DYNAMIC_SHARED(double, memory);
  Task* task = reinterpret_cast<Task*>(memory);
  const Index b = blockIdx.x, rank = ranks ? ranks[b] : k;
  if (threadIdx.x == 0) {
    task->g = g + b * m * n;
    task->u = u + b * m * k;
    task->s = values + b * k;
    task->v = v + b * n * k;
    task->m = m;
    task->n = static_cast<int>(n);
    task->pitch = static_cast<int>(k);
    task->rank = static_cast<int>(rank);
    task->chunk = static_cast<int>(chunk);
    task->stride = static_cast<int>(chunk) | 1;
  }
  __syncthreads();
  const double scale = scale_of(task->g, m * n);
  const bool fits = rank >= 0 && rank <= k, spoiled = scale == 0 || !fits;
  if (threadIdx.x == 0) {
    task->scale = scale;
    status[b] = scale == 0 ? 1 : fits ? 0 : 2;
  }
  const int first = spoiled ? 0 : task->rank;
  const double value = spoiled ? nan("") : 0;
  fill(task->u, m, task->pitch, first, task->pitch, value);
  fill(task->v, n, task->pitch, first, task->pitch, value);
  fill(task->s, 1, task->pitch, first, task->pitch, value);
  __syncthreads();
  return !spoiled && rank > 0;
}

// Fills columns from `present` on with noise, for orthonormalise to make into something.
__device__ void fill_absent(SCALAR* target, Index height, int present) {
  const Task* task = space().task;
  for (Index i = group_of_block(); i < height; i += GROUPS)
    for (int j = present + lane_of_group(); j < task->rank; j += LANES)
      narrow(noise(i, j, -1), target[i * task->pitch + j]);
}

// Scales that make unit vectors of the longest columns, or of the images of those unit vectors.
__device__ void divide_by_sizes(int present, bool images) {
  const Space s = space();
  for (int j = threadIdx.x; j < s.task->rank; j += THREADS) {
    const double size = s.sizes[j];
    s.scales[j] = j < present ? 1 / (images ? size * size : size) : 0;
  }
  __syncthreads();
}

// Makes what was computed last, u or v, orthonormal, and the other too where some of it was
// absent; writes the singular values.
__device__ __noinline__ void finish(int present, bool u_is_last) {
  const Space s = space();
  const Task* task = s.task;
  if (present < task->rank) {
    fill_absent(task->u, task->m, present);
    fill_absent(task->v, task->n, present);
    for (int j = threadIdx.x; j < task->rank; j += THREADS)
      s.norms[j] = j < present ? s.sizes[j] : 0;
    orthonormalise(u_is_last ? task->v : task->u, u_is_last ? task->n : task->m, task->pitch,
                   task->rank, 2);
    for (int j = threadIdx.x; j < task->rank; j += THREADS) s.sizes[j] = s.norms[j];
  }
  orthonormalise(u_is_last ? task->u : task->v, u_is_last ? task->m : task->n, task->pitch,
                 task->rank, 2);
  __syncthreads();
  for (int j = threadIdx.x; j < task->rank; j += THREADS) {
    double least = s.sizes[0];
    for (int q = 1; q <= j; ++q) least = min(least, s.sizes[q]);
    narrow(least / task->scale, task->s[j]);
  }
}

extern "C" __global__ void __launch_bounds__(64 * ELEMENTS, ELEMENTS > 4 ? 1 : 2)
    decompose(const SCALAR* g, SCALAR* u, SCALAR* values, SCALAR* v, const Index* ranks,
              Index* status, Index m, Index n, Index k, Index chunk, Index reflects) {
  if (!begin_task(g, u, values, v, ranks, status, m, n, k, chunk)) return;
  const Task* task = space().task;
  if (reflects) {
    reflect();
  } else {
    gram(task->g, m, task->n, task->n, task->scale);
    const int found = eliminate<true>(task->n);
    keep_factor(task->n, found);
  }
  rotate_columns(task->n);
  const int present = choose_longest(task->n, task->rank);
  divide_by_sizes(present, false);
  store_columns(task->n, task->rank, task->v, task->pitch);
  __syncthreads();
  divide_by_sizes(present, true);
  product(task->g, m, task->n, task->n, task->scale, task->rank, task->u, task->pitch);
  finish(present, true);
}

// Writes columns to begin with, those given where they are finite and then noise, to y or z.
__device__ void begin(const SCALAR* start, Index pitch, bool longer) {
  const Task* task = space().task;
  SCALAR* target = longer ? task->y : task->z;
  const Index height = longer ? task->m : task->n;
  start += blockIdx.x * height * pitch;
  for (Index i = group_of_block(); i < height; i += GROUPS)
    for (int j = lane_of_group(); j < task->width; j += LANES) {
      double value = noise(i, j, -2);
      if (INSIDE(j < pitch)) {
        const double given = widen(start[i * pitch + j]);
        if (fabs(given) <= MOST) value = given;
      }
      narrow(value, target[i * task->width + j]);
    }
}

__device__ __noinline__ void take_in_turn(int count) {
  const Space s = space();
  for (int j = threadIdx.x; j < count; j += THREADS) {
    s.order[j] = j;
    s.scales[j] = 1;
  }
  __syncthreads();
}

// Keeps the columns in z.
__device__ __noinline__ void keep_images() {
  const Task* task = space().task;
  take_in_turn(task->width);
  store_columns(task->n, task->width, task->z, task->width);
}

// `start` (height, started) holds columns of the longer side where `longer`, else of the shorter;
// y (m, n) and z (n, n) are scratch.
extern "C" __global__ void __launch_bounds__(64 * ELEMENTS, ELEMENTS > 4 ? 1 : 2)
    iterate(const SCALAR* g, SCALAR* u, SCALAR* values, SCALAR* v, const Index* ranks,
            Index* status, const SCALAR* start, SCALAR* y, SCALAR* z, Index m, Index n, Index k,
            Index started, Index longer, Index oversample, Index iterations, Index chunk) {
  if (!begin_task(g, u, values, v, ranks, status, m, n, k, chunk)) return;
  Task* task = space().task;
  if (threadIdx.x == 0) {
    const Index further = oversample < 0 ? max(task->rank / 2, 4) : oversample;
    task->width = static_cast<int>(min(n, task->rank + further));
    task->y = y + blockIdx.x * m * n;
    task->z = z + blockIdx.x * n * n;
  }
  __syncthreads();
  begin(start, started, longer);
  for (Index round = 0; round <= iterations; ++round) {
    if (round || longer) {
      transposed_product(task->y, task->width);
      keep_images();
      orthonormalise(task->z, n, task->width, task->width, 1);
    }
    load_columns(task->z, task->n, task->width, task->width);
    take_in_turn(task->width);
    product(task->g, m, task->n, task->n, task->scale, task->width, task->y, task->width);
    orthonormalise(task->y, m, task->width, task->width, round == iterations ? 2 : 1);
  }
  transposed_product(task->y, task->width);
  keep_images();
  gram(task->z, n, task->width, task->width, 1.0);
  const int found = eliminate<true>(task->width);
  keep_factor(task->width, found);
  rotate_columns(task->width);
  const int present = choose_longest(task->width, task->rank);
  divide_by_sizes(present, false);
  product(task->y, m, task->width, task->width, 1.0, task->rank, task->u, task->pitch);
  divide_by_sizes(present, true);
  product(task->z, n, task->width, task->width, 1.0, task->rank, task->v, task->pitch);
  finish(present, false);
}

// inverse = L^-T for a symmetric matrix L L^T, (n, n); a column of zeros where one of the matrix
// depends on those before it.
extern "C" __global__ void __launch_bounds__(64 * ELEMENTS, ELEMENTS > 4 ? 1 : 2)
    invert(const SCALAR* square, SCALAR* inverse, Index n) {
  const int count = static_cast<int>(n);
  load_columns(square + blockIdx.x * n * n, count, count, count);
  __syncthreads();
  eliminate<false>(count);
  keep_inverse(count);
  store_columns(count, count, inverse + blockIdx.x * n * n, count);
}

// x = u diag(s) v^T with the columns of each matrix's own rank, an entry a thread.
extern "C" __global__ void __launch_bounds__(256)
    assemble(const SCALAR* u, const SCALAR* s, const SCALAR* v, SCALAR* x, const Index* ranks,
             Index count, Index m, Index n, Index k) {
  const Index at = blockIdx.x * static_cast<Index>(blockDim.x) + threadIdx.x;
  if (INSIDE(at < count)) {
    const Index b = at / (m * n), i = at / n % m, j = at % n;
    // A matrix that is NaN shows it in its first column.
    const Index own = ranks[b] > 0 && ranks[b] <= k ? ranks[b] : 1;
    double sum = 0;
    for (Index l = 0; l < own; ++l)
      sum += static_cast<double>(u[(b * m + i) * k + l]) * s[b * k + l] * v[(b * n + j) * k + l];
    narrow(sum, x[at]);
  }
}
