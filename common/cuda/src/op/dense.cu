// What products of patches and weights need besides the products, over NHWC activations. One thread per value
// of the result; every sum is one thread's, in a fixed order.
#include "../index.cuh"

// f32 → the bf16 nearest, of two the even one; subnormal numbers become zeros and NaN stays NaN, as the CPU engine and
// its instruction VCVTNEPS2BF16 have it.
__device__ __forceinline__ unsigned short bf16(float v) {
  const u32 bits = __float_as_uint(v), magnitude = bits & 0x7fffffffu;
  u32 rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  if (magnitude < 0x00800000u) rounded = bits & 0x80000000u;
  if (magnitude > 0x7f800000u) rounded = bits | 0x00400000u;
  return (unsigned short)(rounded >> 16);
}

extern "C" __global__ void to_bf16(u64 n, const float *x, unsigned short *out) {
  INDEX(n);
  out[i] = bf16(x[i]);
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

// The same, rounded.
extern "C" __global__ void patches_bf16(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                   const float *x, unsigned short *out) {
  INDEX(n);
  const u32 ch = i % c, tap = i / c % (k * k);
  const u64 row = i / ((u64)c * k * k);
  const u32 ox = row % ow, oy = row / ow % oh;
  const u64 b = row / ((u64)ow * oh);
  const int y = (int)(oy * stride + tap / k) - (int)pad, xx = (int)(ox * stride + tap % k) - (int)pad;
  const bool inside = y >= 0 && y < (int)h && xx >= 0 && xx < (int)w;
  out[i] = inside ? bf16(x[((b * h + y) * w + xx) * c + ch]) : 0;
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
