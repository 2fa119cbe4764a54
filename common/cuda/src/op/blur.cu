// A fixed low-pass filter along rows and columns, over NHWC activations.
#include "../index.cuh"

#define SHARES float t0, float t1, float t2, float t3, float t4, float t5, float t6
#define SHARE const float share[7] = {t0, t1, t2, t3, t4, t5, t6}

// The pixel of a side of n that tap k of position o reads; beyond the border the picture is mirrored.
static __device__ u32 source(u32 o, u32 k, u32 stride, u32 before, u32 n) {
  const int i = (int)(o * stride + k) - (int)before;
  return i < 0 ? -i : i < (int)n ? i : 2 * ((int)n - 1) - i;
}

// n = b·oh·ow·c.
extern "C" __global__ void blur(u64 n, u32 h, u32 w, u32 c, u32 oh, u32 ow, u32 stride, u32 taps, u32 before, SHARES,
                                const float *x, float *y) {
  INDEX(n);
  SHARE;
  const u32 ch = i % c, ox = i / c % ow, oy = i / ((u64)c * ow) % oh;
  const u64 b = i / ((u64)c * ow * oh);
  float sum = 0.f;
  for (u32 kx = 0; kx < taps; ++kx) {
    const u32 ix = source(ox, kx, stride, before, w);
    float column = 0.f;
    for (u32 ky = 0; ky < taps; ++ky)
      column += share[ky] * x[((b * h + source(oy, ky, stride, before, h)) * w + ix) * c + ch];
    sum += share[kx] * column;
  }
  y[i] = sum;
}

// What of pixel i of a side of n is in position o.
static __device__ float part(u32 o, u32 i, const float *share, u32 taps, u32 stride, u32 before, u32 n) {
  float sum = 0.f;
  for (u32 k = 0; k < taps; ++k)
    if (source(o, k, stride, before, n) == i) sum += share[k];
  return sum;
}

// Its input gradient: what the positions near a pixel say. n = b·h·w·c.
extern "C" __global__ void blur_backward(u64 n, u32 h, u32 w, u32 c, u32 oh, u32 ow, u32 stride, u32 taps, u32 before,
                                         SHARES, const float *grad, float *dx) {
  INDEX(n);
  SHARE;
  const u32 ch = i % c, x = i / c % w, y = i / ((u64)c * w) % h;
  const u64 b = i / ((u64)c * w * h);
  // No tap reaches further, mirrored or not.
  const u32 first_y = y < taps ? 0 : (y - taps) / stride, last_y = (y + taps) / stride;
  const u32 first_x = x < taps ? 0 : (x - taps) / stride, last_x = (x + taps) / stride;
  float sum = 0.f;
  for (u32 oy = first_y; oy <= last_y && oy < oh; ++oy) {
    const float row = part(oy, y, share, taps, stride, before, h);
    if (row == 0.f) continue;
    float line = 0.f;
    for (u32 ox = first_x; ox <= last_x && ox < ow; ++ox)
      line += part(ox, x, share, taps, stride, before, w) * grad[((b * oh + oy) * ow + ox) * c + ch];
    sum += row * line;
  }
  dx[i] = sum;
}
