// The sum of what the blocks of another kernel left, in an order that the parts' number decides.
//
// Constants: SCALAR, the type of the sum.
#include "cuda/prelude.cuh"

typedef WideOf<SCALAR>::type Wide;
constexpr int LANES = 32, TEAMS = 8;

// sums[r, e] = sum over p of parts[r, p, e]; a block takes LANES numbers e of one replica.
extern "C" __global__ void __launch_bounds__(LANES* TEAMS)
    sum_of_parts(const Wide* parts, SCALAR* sums, Index count, Index number, Index replicas) {
  DYNAMIC_SHARED(Wide, memory);
  const int lane = threadIdx.x % LANES, team = threadIdx.x / LANES;
  const Index e = Index(blockIdx.x) * LANES + lane;
  for (Index r = blockIdx.y; r < replicas; r += gridDim.y) {
    Wide total = 0;
    if (INSIDE(e < count))
      for (Index p = team; p < number; p += TEAMS) total += parts[(r * number + p) * count + e];
    memory[team * LANES + lane] = total;
    __syncthreads();
    if (team == 0) {
      for (int other = 1; other < TEAMS; ++other) total += memory[other * LANES + lane];
      if (INSIDE(e < count)) narrow(total, sums[r * count + e]);
    }
    __syncthreads();
  }
}
