// The mean of each window, over NHWC activations; a thread per pixel and four channels.
#include "../slide.cuh"

// Values of a window from `at`, inside the picture and its margin: what a mean is divided by.
static __device__ u32 extent(u32 at, u32 k, u32 side, u32 pad) {
  const u32 end = at + k < side + 2 * pad ? at + k : side + 2 * pad;
  return end - at;
}

template <u32 V, u32 K, u32 S>
static __device__ void means(u32 i, const Slide &s, const float *x, float *y) {
  const u32 k = K ? K : s.k, stride = S ? S : s.stride;
  const Place at = position(i, s);
  Floats<V> sum = {};
  over_window<K, S>(at, s, [&](u32 iy, u32 ix, u32) {
    const Floats<V> v = load<V>(x + index_of(s, at.b, iy, ix, at.ch));
    for (u32 j = 0; j < V; ++j) sum.v[j] += v.v[j];
  });
  const float count = (float)(extent(at.y * stride, k, s.h, s.pad) * extent(at.x * stride, k, s.w, s.pad));
  for (u32 j = 0; j < V; ++j) sum.v[j] /= count;
  store<V>(y + i * V, sum);
}

// Means of x; the margin counts as zeros, what lies beyond it not at all. n = b·oh·ow·(c / lanes).
extern "C" __global__ void avg_forward(u32 n, Slide s, const float *x, float *y) {
  EACH(n);
  BY_WINDOW(s, means, i, s, x, y);
}

template <u32 V, u32 K, u32 S>
static __device__ void spread_means(u32 i, const Slide &s, const float *grad, float *dx) {
  const u32 k = K ? K : s.k;
  const Place at = pixel(i, s);
  Floats<V> sum = {};
  over_readers<K, S>(at, s, [&](u32 oy, u32 ox, u32 ky, u32 kx) {
    const Floats<V> g = load<V>(grad + index_of_position(s, at.b, oy, ox, at.ch));
    const float count = (float)(extent(at.y + s.pad - ky, k, s.h, s.pad) * extent(at.x + s.pad - kx, k, s.w, s.pad));
    for (u32 j = 0; j < V; ++j) sum.v[j] += g.v[j] / count;
  });
  store<V>(dx + i * V, sum);
}

// Its input gradient; n = b·h·w·(c / lanes).
extern "C" __global__ void avg_backward(u32 n, Slide s, const float *grad, float *dx) {
  EACH(n);
  BY_WINDOW(s, spread_means, i, s, grad, dx);
}
