// The mean of each window, over NHWC activations.
#include "../index.cuh"

// Values of a window from `at`, inside the picture and its margin: what a mean is divided by.
static __device__ u32 extent(u32 at, u32 k, u32 side, u32 pad) {
  const u32 end = at + k < side + 2 * pad ? at + k : side + 2 * pad;
  return end - at;
}

// Means of x; the margin counts as zeros, what lies beyond it not at all. n = b·oh·ow·c.
extern "C" __global__ void avg_forward(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                       const float *x, float *y) {
  INDEX(n);
  const u32 ch = i % c, ox = i / c % ow, oy = i / ((u64)c * ow) % oh;
  const u64 b = i / ((u64)c * ow * oh);
  float sum = 0.f;
  for (u32 ky = 0; ky < k; ++ky) {
    const int iy = (int)(oy * stride + ky) - (int)pad;
    if (iy < 0 || iy >= (int)h) continue;
    for (u32 kx = 0; kx < k; ++kx) {
      const int ix = (int)(ox * stride + kx) - (int)pad;
      if (ix < 0 || ix >= (int)w) continue;
      sum += x[((b * h + iy) * w + ix) * c + ch];
    }
  }
  y[i] = sum / (float)(extent(oy * stride, k, h, pad) * extent(ox * stride, k, w, pad));
}

// Its input gradient; n = b·h·w·c.
extern "C" __global__ void avg_backward(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                        const float *grad, float *dx) {
  INDEX(n);
  const u32 ch = i % c, x = i / c % w, y = i / ((u64)c * w) % h;
  const u64 b = i / ((u64)c * w * h);
  float sum = 0.f;
  for (u32 ky = 0; ky < k; ++ky) {
    const int sy = (int)(y + pad) - (int)ky;
    if (sy < 0 || sy % (int)stride || sy / (int)stride >= (int)oh) continue;
    for (u32 kx = 0; kx < k; ++kx) {
      const int sx = (int)(x + pad) - (int)kx;
      if (sx < 0 || sx % (int)stride || sx / (int)stride >= (int)ow) continue;
      const u64 o = ((b * oh + sy / stride) * ow + sx / stride) * c + ch;
      sum += grad[o] / (float)(extent(sy, k, h, pad) * extent(sx, k, w, pad));
    }
  }
  dx[i] = sum;
}
