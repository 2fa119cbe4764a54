// The largest value in each window, over NHWC activations.
#include "../index.cuh"

// Maxima of x [b, h, w, c] and where in the window they are, the first of equals; n = b·oh·ow·c.
extern "C" __global__ void max_forward(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                       const float *x, float *y, unsigned char *places) {
  INDEX(n);
  const u32 ch = i % c, ox = i / c % ow, oy = i / ((u64)c * ow) % oh;
  const u64 b = i / ((u64)c * ow * oh);
  float best = 0.f;
  u32 place = 0;
  bool found = false;
  for (u32 ky = 0; ky < k; ++ky) {
    const int iy = (int)(oy * stride + ky) - (int)pad;
    if (iy < 0 || iy >= (int)h) continue;
    for (u32 kx = 0; kx < k; ++kx) {
      const int ix = (int)(ox * stride + kx) - (int)pad;
      if (ix < 0 || ix >= (int)w) continue;
      const float v = x[((b * h + iy) * w + ix) * c + ch];
      if (!found || v > best) {
        best = v;
        place = ky * k + kx;
        found = true;
      }
    }
  }
  y[i] = best;
  places[i] = (unsigned char)place;
}

// Its input gradient: what the windows over a value say; n = b·h·w·c.
extern "C" __global__ void max_backward(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                        const float *grad, const unsigned char *places, float *dx) {
  INDEX(n);
  const u32 ch = i % c, x = i / c % w, y = i / ((u64)c * w) % h;
  const u64 b = i / ((u64)c * w * h);
  float sum = 0.f;
  // Windows in row order: from the one in which this is the last row to that in which it is the first.
  for (u32 up = 0; up < k; ++up) {
    const u32 ky = k - 1 - up;
    const int sy = (int)(y + pad) - (int)ky;
    if (sy < 0 || sy % (int)stride || sy / (int)stride >= (int)oh) continue;
    for (u32 left = 0; left < k; ++left) {
      const u32 kx = k - 1 - left;
      const int sx = (int)(x + pad) - (int)kx;
      if (sx < 0 || sx % (int)stride || sx / (int)stride >= (int)ow) continue;
      const u64 o = ((b * oh + sy / stride) * ow + sx / stride) * c + ch;
      if (places[o] == ky * k + kx) sum += grad[o];
    }
  }
  dx[i] = sum;
}
