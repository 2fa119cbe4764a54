// Results and gradients as plain values, whatever operation they belong to.
#include "index.cuh"

extern "C" __global__ void clamp(u64 n, const float *x, float lo, float hi, float *y) {
  INDEX(n);
  y[i] = fminf(fmaxf(x[i], lo), hi);
}

// The gradient where y is inside the bounds, else 0, in place.
extern "C" __global__ void mask(u64 n, const float *y, float lo, float hi, float *grad) {
  INDEX(n);
  if (!(y[i] > lo && y[i] < hi)) grad[i] = 0.f;
}

extern "C" __global__ void accumulate(u64 n, const float *v, float *sum) {
  INDEX(n);
  sum[i] += v[i];
}

extern "C" __global__ void fill(u64 n, float v, float *y) {
  INDEX(n);
  y[i] = v;
}
