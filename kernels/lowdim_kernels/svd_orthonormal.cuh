// Symmetric matrices eliminated in shared memory, and with them columns made orthonormal.

// Of the largest diagonal entry: below it what a pivot holds is rounding.
constexpr double LEAST_PIVOT = 1e-14;
// Of a column's square: what must be left of it outside the columns before, or it depends on them.
constexpr double LEAST_OUTSIDE = 1e-8;
constexpr int MOST_PASSES = 8;

// A positive number to 16 bits, its place below them: the larger the number, the larger this.
__device__ __forceinline__ unsigned ranked(double number, int place) {
  union {
    float number;
    unsigned bits;
  } rounded;
  rounded.number = number > 0 ? static_cast<float>(number) : 0.0f;
  return (rounded.bits & ~127u) | static_cast<unsigned>(127 - place);
}

// The place of the largest number not taken, as near as 16 bits tell; every warp finds it.
__device__ int largest(const double* numbers, int count, unsigned taken) {
  unsigned best = 0;
  for (int a = 0; a * 32 < count; ++a) {
    const int i = threadIdx.x % 32 + a * 32;
    if (i < count && !(taken >> a & 1u)) best = max(best, ranked(numbers[i], i));
  }
  for (int apart = 16; apart; apart /= 2)
    best = max(best, __shfl_xor_sync(0xffffffffu, best, apart));
  return 127 - static_cast<int>(best & 127u);
}

// Eliminates columns, the largest pivot first or in turn: each takes its multiples off the others
// that are left. Column p keeps its numbers raw, scales[p] is 1 / sqrt(pivot), 0 where it is no
// pivot. In turn, the rows that are done hold the inverse of the Cholesky factor, also raw.
// Returns how many columns were pivots. One barrier a step: pivots are written beside those read.
template <bool PIVOTED>
__device__ __noinline__ int eliminate(int count) {
  const Space s = space();
  const int lane = lane_of_group(), group = group_of_block();
  for (int i = threadIdx.x; i < LENGTH; i += THREADS) {
    s.place[i] = LENGTH;
    s.scales[i] = 0;
    s.starts[i] = i < count ? s.columns[i * (LENGTH + 1)] : 0;
    s.pivots[i] = s.starts[i];
  }
  __syncthreads();
  unsigned done = 0, taken = 0;
  double least = 0;
  int sound = 0;
  for (int step = 0; step < count; ++step) {
    const double* now = s.pivots + step % 2 * LENGTH;
    double* next = s.pivots + (step + 1) % 2 * LENGTH;
    const int p = PIVOTED ? largest(now, count, taken) : step;
    const double pivot = now[p];
    if (!PIVOTED) least = LEAST_OUTSIDE * s.starts[p];
    if (PIVOTED && step == 0) least = LEAST_PIVOT * pivot;
    const bool is_sound = pivot > least;
    if (PIVOTED && !is_sound) break;
    const double inverse = is_sound ? rsqrt(pivot) : 0;
    sound += is_sound;
    if (threadIdx.x == 0) {
      s.order[step] = p;
      s.place[p] = step;
      s.scales[p] = inverse;
    }
    if (p % GROUPS == group) done |= 1u << p / GROUPS;
    if (p % 32 == threadIdx.x % 32) taken |= 1u << p / 32;
    double x[ELEMENTS];
    for (int e = 0; e < ELEMENTS; ++e) x[e] = s.columns[p * LENGTH + lane + e * LANES];
    for (int a = 0; a < SHARE; ++a) {
      const int l = group + a * GROUPS;
      if (l >= count || (done >> a & 1u)) continue;
      const double factor = s.columns[p * LENGTH + l] * inverse * inverse;
      for (int e = 0; e < ELEMENTS; ++e) {
        const int i = lane + e * LANES;
        double y = fma(-factor, x[e], s.columns[l * LENGTH + i]);
        if (!PIVOTED && i == p) y = -factor;
        s.columns[l * LENGTH + i] = y;
        if (i == l) next[l] = y;
      }
    }
    __syncthreads();
  }
  return sound;
}

// Leaves the pivoted Cholesky factor in columns, in the order of `order`, and zeros elsewhere.
__device__ __noinline__ void keep_factor(int count, int rank) {
  const Space s = space();
  for (int a = 0; a < SHARE; ++a) {
    const int l = group_of_block() + a * GROUPS;
    if (l >= whole(count, 4)) continue;
    for (int i = lane_of_group(); i < LENGTH; i += LANES) {
      const bool below = i < count && s.place[l] < LENGTH && s.place[i] >= s.place[l];
      s.columns[l * LENGTH + i] = below ? s.columns[l * LENGTH + i] * s.scales[l] : 0;
    }
  }
  for (int l = threadIdx.x; l < whole(count, 4); l += THREADS) {
    int at = rank;
    for (int q = 0; q < l; ++q) at += s.place[q] == LENGTH;
    if (s.place[l] == LENGTH) s.order[at] = l;
  }
  __syncthreads();
}

// Leaves in column j what times scales[j] is column j of the inverse of the Cholesky factor's
// transpose.
__device__ __noinline__ void keep_inverse(int count) {
  const Space s = space();
  for (int a = 0; a < SHARE; ++a) {
    const int l = group_of_block() + a * GROUPS;
    if (l >= count) continue;
    for (int i = l + lane_of_group(); i < LENGTH; i += LANES)
      s.columns[l * LENGTH + i] = i == l;
  }
  __syncthreads();
}

// Notes what columns were divided by; where some depend on others makes noise of them. Whoever
// writes an entry is the one to load it next (load_rows), so no barrier is needed.
__device__ __noinline__ void replace_dependent(int pass, bool is_sound) {
  const Space s = space();
  const Task* task = s.task;
  for (int j = threadIdx.x; j < task->count; j += THREADS)
    s.sizes[j] = s.scales[j] > 0 ? s.sizes[j] / s.scales[j] : 0;
  if (is_sound) return;
  for (Index i = group_of_block(); i < task->height; i += GROUPS)
    for (int j = lane_of_group(); j < task->count; j += LANES)
      if (s.scales[j] == 0) narrow(noise(i, j, pass), task->block[i * task->block_pitch + j]);
}

// Makes columns of a matrix in global memory orthonormal by Cholesky factors of their Gram matrix,
// twice for all their digits, and multiplies sizes by what they are divided by. A column that
// depends on those before becomes noise, of size 0, and that is made orthonormal in turn.
__device__ __noinline__ void orthonormalise(SCALAR* block, Index height, int pitch, int count,
                                            int passes) {
  Task* task = space().task;
  if (threadIdx.x == 0) {
    task->block = block;
    task->height = height;
    task->block_pitch = pitch;
    task->count = count;
  }
  __syncthreads();
  for (int pass = 0; passes && pass < MOST_PASSES; ++pass) {
    gram(task->block, task->height, task->block_pitch, task->count, 1.0);
    const bool is_sound = eliminate<false>(task->count) == task->count;
    keep_inverse(task->count);
    product(task->block, task->height, task->block_pitch, task->count, 1.0, task->count,
            task->block, task->block_pitch);
    passes = is_sound ? passes - 1 : 2;
    replace_dependent(pass, is_sound);
  }
}
