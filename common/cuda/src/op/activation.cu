// Activations that do not only clamp.
#include "../index.cuh"

// hardswish (which = 0) and silu (1).
extern "C" __global__ void smooth_forward(u64 n, u32 which, const float *x, float *y) {
  INDEX(n);
  const float v = x[i];
  y[i] = which ? v / (1.f + expf(-v)) : v * fminf(fmaxf(v + 3.f, 0.f), 6.f) / 6.f;
}

// Their gradients, in place.
extern "C" __global__ void smooth_backward(u64 n, u32 which, const float *x, float *grad) {
  INDEX(n);
  const float v = x[i];
  if (which) {
    const float s = 1.f / (1.f + expf(-v));
    grad[i] *= s * (1.f + v * (1.f - s));
  } else {
    grad[i] *= v <= -3.f ? 0.f : v < 3.f ? v / 3.f + 0.5f : 1.f;
  }
}
