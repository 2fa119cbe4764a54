// The mean over the picture, over NHWC activations.
#include "../index.cuh"

// Mean over the pixels of each picture: y [b, c]; n = b·c.
extern "C" __global__ void mean_forward(u64 n, u32 pixels, u32 c, const float *x, float *y) {
  INDEX(n);
  const u32 ch = i % c;
  const u64 b = i / c;
  float sum = 0.f;
  for (u32 p = 0; p < pixels; ++p) sum += x[(b * pixels + p) * c + ch];
  y[i] = sum / (float)pixels;
}

// Its input gradient; n = b·pixels·c.
extern "C" __global__ void mean_backward(u64 n, u32 pixels, u32 c, const float *grad, float *dx) {
  INDEX(n);
  dx[i] = grad[i / ((u64)pixels * c) * c + i % c] / (float)pixels;
}
