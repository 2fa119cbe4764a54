// Sums in a fixed order, of columns and of what other kernels left in parts.
#include "index.cuh"

// partials [chunks, c] of x [rows, c]: 32 channels a block, grid.y = chunk of rows.
extern "C" __global__ void column_partials(u64 rows, u64 chunk, u32 c, const float *x, float *partials) {
  const u32 ch = blockIdx.x * blockDim.x + threadIdx.x;
  if (ch >= c) return;
  const u64 start = blockIdx.y * chunk, end = start + chunk < rows ? start + chunk : rows;
  float sum = 0.f;
  for (u64 row = start; row < end; ++row) sum += x[row * c + ch];
  partials[blockIdx.y * (u64)c + ch] = sum;
}

// out[i] = Σ partials[chunk · stride + i], i below n, chunks in their order; in f64.
extern "C" __global__ void sum_partials(u64 n, u32 chunks, u64 stride, const float *partials, float *out) {
  INDEX(n);
  double sum = 0.;
  for (u32 k = 0; k < chunks; ++k) sum += partials[k * stride + i];
  out[i] = (float)sum;
}

// The same of doubles.
extern "C" __global__ void sum_doubles(u64 n, u32 chunks, u64 stride, const double *partials, double *out) {
  INDEX(n);
  double sum = 0.;
  for (u32 k = 0; k < chunks; ++k) sum += partials[k * stride + i];
  out[i] = sum;
}
