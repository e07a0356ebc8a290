// Columns in shared memory made orthogonal by rotations of pairs (one-sided Jacobi).
//
// A group holds four columns in registers, two blocks of two, and turns every pair across the
// blocks, so that shared memory is read and written once for two rounds of pairs. Blocks meet in
// the order of a tournament: all of them in a round, a barrier between rounds.

constexpr int MOST_SWEEPS = 30;
// Columns whose squares are below it are left as they are; the largest is at least 1.
constexpr double NEGLIGIBLE = 1e-34;
// Keeps squares within the range of float32.
constexpr double LIFT = 1e25;

// The cosine of two columns that pass for orthogonal, and the rotations that leave none above it.
constexpr double COSINE = sizeof(SCALAR) == 8 ? 2e-15 : 1e-8;
constexpr double CALM = sizeof(SCALAR) == 8 ? 4e-9 : 1e-5;

enum Turned { TURNED = 1, TURNED_FAR = 2 };

// Turns two columns with squares a and b until they are orthogonal; says whether it did, and far.
__device__ __forceinline__ unsigned rotate(double (&x)[ELEMENTS], double (&y)[ELEMENTS], double& a,
                                           double& b) {
  double across = 0;
  for (int e = 0; e < ELEMENTS; ++e) across = fma(x[e], y[e], across);
  across = sum_over_group(across);
  const double both = a * b, square = across * across;
  const bool turns = min(a, b) > NEGLIGIBLE && square > COSINE * COSINE * both;
  // The angle needs few digits, that the rotation is one needs all: t in float32, with a and b
  // as parts of their sum, and then 1 / sqrt(1 + t^2) from an estimate by one step of third order.
  const float part = __fdividef(1.0f, static_cast<float>((a + b) * LIFT));
  const float apart = static_cast<float>((b - a) * LIFT) * part;
  const float twice = static_cast<float>(2 * across * LIFT) * part;
  const float wide = fmaf(twice, twice, apart * apart);
  const float tangent = __fdividef(twice, fabsf(apart) + wide * rsqrtf(wide));
  const double t = turns ? static_cast<double>(apart < 0 ? -tangent : tangent) : 0.0;
  const double square_of_inverse = fma(t, t, 1.0);
  const double guess = rsqrtf(static_cast<float>(square_of_inverse));
  const double miss = fma(-square_of_inverse * guess, guess, 1.0);
  const double c = turns ? fma(guess * miss, fma(0.375, miss, 0.5), guess) : 1.0;
  const double sine = c * t;
  for (int e = 0; e < ELEMENTS; ++e) {
    const double before = x[e];
    x[e] = fma(c, before, -sine * y[e]);
    y[e] = fma(sine, before, c * y[e]);
  }
  a = fma(-t, across, a);
  b = fma(t, across, b);
  const bool far = fabs(t) > CALM || square > CALM * CALM * both;
  return turns ? far ? TURNED | TURNED_FAR : TURNED : 0u;
}

__device__ __forceinline__ double square_of(const double (&x)[ELEMENTS]) {
  double sum = 0;
  for (int e = 0; e < ELEMENTS; ++e) sum = fma(x[e], x[e], sum);
  return sum_over_group(sum);
}

// Makes columns orthogonal. Squares of norms are worked out once a sweep and then kept up to date.
__device__ __noinline__ void rotate_columns(int count) {
  const Space s = space();
  const int lane = lane_of_group(), group = group_of_block();
  const int blocks = whole(count, 4) / 2, last = blocks - 1;
  for (int sweep = 0; sweep < MOST_SWEEPS; ++sweep) {
    bool far = false;
    for (int round = 0; round < last; ++round) {
      if (group < blocks / 2) {
        const int after = round + group, before = round - group;
        const int p = group == 0 ? last : after < last ? after : after - last;
        const int q = before < 0 ? before + last : before;
        double x[4][ELEMENTS], a[4];
        int column[4];
        for (int h = 0; h < 4; ++h) {
          column[h] = s.order[2 * (h < 2 ? p : q) + h % 2];
          for (int e = 0; e < ELEMENTS; ++e)
            x[h][e] = s.columns[column[h] * LENGTH + lane + e * LANES];
          a[h] = round ? s.norms[column[h]] : square_of(x[h]);
        }
        unsigned turned = round ? 0u : TURNED;  // of which norms are new
        if (round == 0) {
          turned |= rotate(x[0], x[1], a[0], a[1]);
          turned |= rotate(x[2], x[3], a[2], a[3]);
        }
        turned |= rotate(x[0], x[2], a[0], a[2]);
        turned |= rotate(x[1], x[3], a[1], a[3]);
        turned |= rotate(x[0], x[3], a[0], a[3]);
        turned |= rotate(x[1], x[2], a[1], a[2]);
        if (turned) {
          for (int h = 0; h < 4; ++h) {
            for (int e = 0; e < ELEMENTS; ++e)
              s.columns[column[h] * LENGTH + lane + e * LANES] = x[h][e];
            if (lane == 0) s.norms[column[h]] = a[h];
          }
        }
        far = far || (turned & TURNED_FAR);
      }
      __syncthreads();
    }
    if (!__syncthreads_or(far)) return;
  }
}

// Writes which columns are the k longest, and how long they are; returns how many are not
// negligible beside the longest.
__device__ __noinline__ int choose_longest(int count, int k) {
  const Space s = space();
  for (int a = 0; a < SHARE; ++a) {
    const int l = group_of_block() + a * GROUPS;
    if (l >= count) continue;
    double sum = 0;
    for (int i = lane_of_group(); i < LENGTH; i += LANES) {
      const double x = s.columns[l * LENGTH + i];
      sum = fma(x, x, sum);
    }
    sum = sum_over_group(sum);
    if (lane_of_group() == 0) s.starts[l] = sum;
  }
  __syncthreads();
  for (int l = threadIdx.x; l < count; l += THREADS) {
    const double own = s.starts[l];
    int at = 0;
    for (int q = 0; q < count; ++q) at += s.starts[q] > own || (s.starts[q] == own && q < l);
    if (at < k) {
      s.order[at] = l;
      s.sizes[at] = sqrt(own);
    }
  }
  __syncthreads();
  int present = k;
  while (present && s.sizes[present - 1] <= 1e-15 * s.sizes[0]) --present;
  return present;
}
