// Batch norm, and factors and summands per channel, with an activation that clamps. Activations are
// rows of c channels. Sums over rows: a thread per channel and chunk of rows (32 channels a block, grid.y =
// chunk), then a thread per channel over the chunks in their order.
#include "../index.cuh"

// partials [chunks, 3, c]: pivot, Σd, Σd² with d = x − pivot, the first row of the chunk: with it a mean
// that is large against the deviation does not cancel the variance away.
extern "C" __global__ void stats_partials(u64 rows, u64 chunk, u32 c, const float *x, float *partials) {
  const u32 ch = blockIdx.x * blockDim.x + threadIdx.x;
  if (ch >= c) return;
  const u64 start = blockIdx.y * chunk, end = start + chunk < rows ? start + chunk : rows;
  const float pivot = x[start * c + ch];
  float s = 0.f, q = 0.f;
  for (u64 row = start; row < end; ++row) {
    const float d = x[row * c + ch] - pivot;
    s += d;
    q = fmaf(d, d, q);
  }
  float *out = partials + blockIdx.y * (u64)3 * c + ch;
  out[0] = pivot;
  out[c] = s;
  out[2 * c] = q;
}

// Mean and deviation of all rows (Chan, Golub & LeVeque 1983), γ and β with them as scale and shift; the
// stored statistics move by the share `momentum` towards mean and unbiased variance.
extern "C" __global__ void stats_combine(u64 rows, u64 chunk, u32 chunks, u32 c, const float *partials,
                                           const float *gamma, const float *beta, float epsilon, float momentum,
                                           float *running_mean, float *running_var, float *mean_out, float *rstd,
                                           float *scale, float *shift) {
  INDEX(c);
  double mean = 0., squares = 0., count = 0.;
  for (u32 k = 0; k < chunks; ++k) {
    const float *p = partials + (u64)k * 3 * c + i;
    const u64 left = rows - k * chunk;
    const double n = left < chunk ? left : chunk, s = p[c], q = p[2 * c];
    const double delta = p[0] + s / n - mean, before = count;
    count += n;
    mean += delta * n / count;
    squares += (q - s * s / n) + delta * delta * before * n / count;
  }
  const double variance = squares > 0. ? squares / count : 0.;
  const float m = (float)mean, v = (float)variance, r = 1.f / sqrtf(v + epsilon);
  mean_out[i] = m;
  rstd[i] = r;
  scale[i] = gamma[i] * r;
  shift[i] = fmaf(-m, gamma[i] * r, beta[i]);
  if (momentum > 0.f) {
    const float unbiased = v * ((float)rows / (float)(rows > 1 ? rows - 1 : 1));
    running_mean[i] += momentum * (m - running_mean[i]);
    running_var[i] += momentum * (unbiased - running_var[i]);
  }
}

// The same of stored statistics, which stay.
extern "C" __global__ void stats_stored(u64 n, const float *mean, const float *variance, const float *gamma,
                                        const float *beta, float epsilon, float *mean_out, float *rstd, float *scale,
                                        float *shift) {
  INDEX(n);
  const float r = 1.f / sqrtf(variance[i] + epsilon);
  mean_out[i] = mean[i];
  rstd[i] = r;
  scale[i] = gamma[i] * r;
  shift[i] = fmaf(-mean[i], gamma[i] * r, beta[i]);
}

// y = clamp(x · scale + shift); n = rows·c.
extern "C" __global__ void normalize(u64 n, u32 c, const float *x, const float *scale, const float *shift, float lo,
                                     float hi, float *y) {
  INDEX(n);
  const u32 ch = i % c;
  y[i] = fminf(fmaxf(fmaf(x[i], scale[ch], shift[ch]), lo), hi);
}

// partials [chunks, 2, c]: Σg and Σg·x̂, g the gradient where y is inside the bounds, x̂ = (x − mean) · rstd.
extern "C" __global__ void norm_partials(u64 rows, u64 chunk, u32 c, const float *x, const float *y, const float *grad,
                                         const float *mean, const float *rstd, float lo, float hi, float *partials) {
  const u32 ch = blockIdx.x * blockDim.x + threadIdx.x;
  if (ch >= c) return;
  const u64 start = blockIdx.y * chunk, end = start + chunk < rows ? start + chunk : rows;
  float s = 0.f, q = 0.f;
  for (u64 row = start; row < end; ++row) {
    const u64 i = row * c + ch;
    const float g = y[i] > lo && y[i] < hi ? grad[i] : 0.f;
    s += g;
    q = fmaf(g, (x[i] - mean[ch]) * rstd[ch], q);
  }
  float *out = partials + blockIdx.y * (u64)2 * c + ch;
  out[0] = s;
  out[c] = q;
}

// dx = γ · rstd · (g − (Σg + x̂ · Σg·x̂) / rows); without statistics inverse is 0. n = rows·c.
extern "C" __global__ void norm_input(u64 n, u32 c, const float *x, const float *y, const float *grad,
                                      const float *mean, const float *rstd, const float *gamma, const float *sum,
                                      const float *product, float inverse, float lo, float hi, float *dx) {
  INDEX(n);
  const u32 ch = i % c;
  const float g = y[i] > lo && y[i] < hi ? grad[i] : 0.f, xhat = (x[i] - mean[ch]) * rstd[ch];
  dx[i] = gamma[ch] * rstd[ch] * (g - (sum[ch] + xhat * product[ch]) * inverse);
}
