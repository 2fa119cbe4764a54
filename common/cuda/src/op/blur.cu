// A fixed low-pass filter along rows and columns, over NHWC activations; a thread per pixel and four channels.
#include "../fours.cuh"
#include "../slide.cuh"

struct Shares {
  float of[7];
};

// The pixel of a side of n that tap k of position o reads; beyond the border the picture is mirrored.
static __device__ u32 source(u32 o, u32 k, u32 stride, u32 before, u32 n) {
  const int i = (int)(o * stride + k) - (int)before;
  return i < 0 ? -i : i < (int)n ? i : 2 * ((int)n - 1) - i;
}

// n = b·oh·ow·(c / lanes).
extern "C" __global__ void blur(u32 n, Slide s, Shares shares, const float *x, float *y) {
  EACH(n);
  const Place at = position(i, s);
  by_lanes(s.lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> sum = {};
    for (u32 kx = 0; kx < s.k; ++kx) {
      const u32 ix = source(at.x, kx, s.stride, s.pad, s.w);
      Floats<V> column = {};
      for (u32 ky = 0; ky < s.k; ++ky) {
        const Floats<V> v = load<V>(x + index_of(s, at.b, source(at.y, ky, s.stride, s.pad, s.h), ix, at.ch));
        for (u32 j = 0; j < V; ++j) column.v[j] += shares.of[ky] * v.v[j];
      }
      for (u32 j = 0; j < V; ++j) sum.v[j] += shares.of[kx] * column.v[j];
    }
    store<V>(y + i * V, sum);
  });
}

// What of pixel i of a side of n is in position o.
static __device__ float part(u32 o, u32 i, const Shares &shares, const Slide &s, u32 n) {
  float sum = 0.f;
  for (u32 k = 0; k < s.k; ++k)
    if (source(o, k, s.stride, s.pad, n) == i) sum += shares.of[k];
  return sum;
}

// Its input gradient: what the positions near a pixel say. n = b·h·w·(c / lanes).
extern "C" __global__ void blur_backward(u32 n, Slide s, Shares shares, const float *grad, float *dx) {
  EACH(n);
  const Place at = pixel(i, s);
  // No tap reaches further, mirrored or not.
  const u32 first_y = at.y < s.k ? 0 : divide(at.y - s.k, s.by_stride), last_y = divide(at.y + s.k, s.by_stride);
  const u32 first_x = at.x < s.k ? 0 : divide(at.x - s.k, s.by_stride), last_x = divide(at.x + s.k, s.by_stride);
  by_lanes(s.lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> sum = {};
    for (u32 oy = first_y; oy <= last_y && oy < s.oh; ++oy) {
      const float row = part(oy, at.y, shares, s, s.h);
      if (row == 0.f) continue;
      Floats<V> line = {};
      for (u32 ox = first_x; ox <= last_x && ox < s.ow; ++ox) {
        const float share = part(ox, at.x, shares, s, s.w);
        const Floats<V> g = load<V>(grad + index_of_position(s, at.b, oy, ox, at.ch));
        for (u32 j = 0; j < V; ++j) line.v[j] += share * g.v[j];
      }
      for (u32 j = 0; j < V; ++j) sum.v[j] += row * line.v[j];
    }
    store<V>(dx + i * V, sum);
  });
}
