// Convolution over NHWC activations. One thread per value of the result; every sum is one thread's, in a
// fixed order.
#include "../index.cuh"

// Weights [o, c, t] in the order of patches, [o, t, c]; n = o·c·t.
extern "C" __global__ void weight_to_taps(u64 n, u32 c, u32 t, const float *w, float *out) {
  INDEX(n);
  const u32 ch = i % c, tap = i / c % t;
  const u64 o = i / ((u64)c * t);
  out[i] = w[(o * c + ch) * t + tap];
}

// The way back.
extern "C" __global__ void taps_to_weight(u64 n, u32 c, u32 t, const float *w, float *out) {
  INDEX(n);
  const u32 ch = i % c, tap = i / c % t;
  const u64 o = i / ((u64)c * t);
  out[(o * c + ch) * t + tap] = w[i];
}

// x [b, h, w, c] → patches [b·oh·ow, k·k·c]; n = their number of values.
extern "C" __global__ void patches(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                   const float *x, float *out) {
  INDEX(n);
  const u32 ch = i % c, tap = i / c % (k * k);
  const u64 row = i / ((u64)c * k * k);
  const u32 ox = row % ow, oy = row / ow % oh;
  const u64 b = row / ((u64)ow * oh);
  const int y = (int)(oy * stride + tap / k) - (int)pad, xx = (int)(ox * stride + tap % k) - (int)pad;
  const bool inside = y >= 0 && y < (int)h && xx >= 0 && xx < (int)w;
  out[i] = inside ? x[((b * h + y) * w + xx) * c + ch] : 0.f;
}

// The gradient of x from that of its patches; n = b·h·w·c.
extern "C" __global__ void patches_back(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
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
      const u64 row = (b * oh + sy / stride) * ow + sx / stride;
      sum += grad[(row * k * k + ky * k + kx) * c + ch];
    }
  }
  dx[i] = sum;
}

// y = clamp(y + bias) in place; bias may be null; n = rows·c.
extern "C" __global__ void bias_clamp(u64 n, u32 c, const float *bias, float lo, float hi, float *y) {
  INDEX(n);
  const float v = y[i] + (bias ? bias[i % c] : 0.f);
  y[i] = clamped(v, lo, hi);
}
