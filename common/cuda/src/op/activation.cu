// Activations that do not only clamp; a thread per four values.
#include "../fours.cuh"

static __device__ float sigmoid(float v) { return 1.f / (1.f + expf(-v)); }

static __device__ float hardsigmoid(float v) { return clamped(v + 3.f, 0.f, 6.f) / 6.f; }

static __device__ float smooth(u32 which, float v) {
  return which == 0   ? v * hardsigmoid(v)
         : which == 1 ? v / (1.f + expf(-v))
         : which == 2 ? sigmoid(v)
                      : hardsigmoid(v);
}

static __device__ float slope(u32 which, float v) {
  const float s = sigmoid(v);
  return which == 0   ? (v <= -3.f ? 0.f : v < 3.f ? v / 3.f + 0.5f : 1.f)
         : which == 1 ? s * (1.f + v * (1.f - s))
         : which == 2 ? s * (1.f - s)
                      : (v > -3.f && v < 3.f ? 1.f / 6.f : 0.f);
}

// hardswish (which = 0), silu (1), sigmoid (2) and hardsigmoid (3).
extern "C" __global__ void smooth_forward(u32 n, u32 which, const float *x, float *y) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> v = load<V>(x + at);
    for (u32 j = 0; j < V; ++j) v.v[j] = smooth(which, v.v[j]);
    store<V>(y + at, v);
  });
}

// Their gradients, in place.
extern "C" __global__ void smooth_backward(u32 n, u32 which, const float *x, float *grad) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    const Floats<V> v = load<V>(x + at);
    Floats<V> g = load<V>(grad + at);
    for (u32 j = 0; j < V; ++j) g.v[j] *= slope(which, v.v[j]);
    store<V>(grad + at, g);
  });
}
