// Activations that do not only clamp.
#include "../index.cuh"

static __device__ float sigmoid(float v) { return 1.f / (1.f + expf(-v)); }

static __device__ float hardsigmoid(float v) { return fminf(fmaxf(v + 3.f, 0.f), 6.f) / 6.f; }

// hardswish (which = 0), silu (1), sigmoid (2) and hardsigmoid (3).
extern "C" __global__ void smooth_forward(u64 n, u32 which, const float *x, float *y) {
  INDEX(n);
  const float v = x[i];
  y[i] = which == 0   ? v * fminf(fmaxf(v + 3.f, 0.f), 6.f) / 6.f
         : which == 1 ? v / (1.f + expf(-v))
         : which == 2 ? sigmoid(v)
                      : hardsigmoid(v);
}

// Their gradients, in place.
extern "C" __global__ void smooth_backward(u64 n, u32 which, const float *x, float *grad) {
  INDEX(n);
  const float v = x[i];
  const float s = sigmoid(v);
  grad[i] *= which == 0   ? (v <= -3.f ? 0.f : v < 3.f ? v / 3.f + 0.5f : 1.f)
             : which == 1 ? s * (1.f + v * (1.f - s))
             : which == 2 ? s * (1.f - s)
                          : (v > -3.f && v < 3.f ? 1.f / 6.f : 0.f);
}
