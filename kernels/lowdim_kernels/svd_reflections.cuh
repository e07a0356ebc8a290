// The triangular factor of a tall matrix by Householder reflections, rows passing by in chunks.

// Leaves R^T in columns, R^T R = g^T g, to rounding of g rather than of its square.
__device__ __noinline__ void reflect() {
  const Space s = space();
  const int n = s.task->n;
  const int lane = lane_of_group(), group = group_of_block();
  for (int i = threadIdx.x; i < whole(n, 8) * LENGTH; i += THREADS) s.columns[i] = 0;
  for (int l = threadIdx.x; l < whole(n, 4); l += THREADS) s.order[l] = l;
  for (Index first = 0; first < s.task->m; first += s.task->chunk) {
    const Rows rows = rows_from(first, s.task->m, s);
    load_rows(s.task->g, rows, n, n, s.task->scale, s.chunk, s.stride);
    __syncthreads();
    double diagonal = 0;
    for (int j = 0; j < n; ++j) {
      // What the step before leaves, where nobody reads any more.
      if (threadIdx.x == 0 && j) s.columns[(j - 1) * (LENGTH + 1)] = diagonal;
      const double* pivot = s.chunk + j * s.stride;
      double below = 0;
      for (int r = lane; r < rows.count; r += LANES) below = fma(pivot[r], pivot[r], below);
      below = sum_over_group(below);
      const double head = s.columns[j * (LENGTH + 1)];
      const double norm = sqrt(fma(head, head, below));
      const double lead = head + copysign(norm, head);
      const double inverse = below > 0 ? 1 / (norm * fabs(lead)) : 0;
      diagonal = below > 0 ? -copysign(norm, head) : head;
      for (int l = j + 1 + group; l < n; l += GROUPS) {
        double* column = s.chunk + l * s.stride;
        double* entry = s.columns + j * LENGTH + l;
        double sum = lane == 0 ? lead * *entry : 0;
        for (int r = lane; r < rows.count; r += LANES) sum = fma(pivot[r], column[r], sum);
        sum = sum_over_group(sum) * inverse;
        if (lane == 0) *entry = fma(-sum, lead, *entry);
        for (int r = lane; r < rows.count; r += LANES) column[r] = fma(-sum, pivot[r], column[r]);
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) s.columns[(n - 1) * (LENGTH + 1)] = diagonal;
  }
  __syncthreads();
}
