// Convolution over NHWC activations. One thread per value of the result; every sum is one thread's, in a
// fixed order.
#include "../index.cuh"

// Depthwise and grouped: y [b, oh, ow, o]; weights [o, c / groups, k, k]; n = b·oh·ow·o.
extern "C" __global__ void grouped_forward(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                           u32 o, u32 groups, const float *x, const float *weight, float *out) {
  INDEX(n);
  const u32 ch = i % o, ox = i / o % ow, oy = i / ((u64)o * ow) % oh;
  const u64 b = i / ((u64)o * ow * oh);
  const u32 cg = c / groups, first = ch / (o / groups) * cg;
  float sum = 0.f;
  for (u32 ky = 0; ky < k; ++ky) {
    const int y = (int)(oy * stride + ky) - (int)pad;
    if (y < 0 || y >= (int)h) continue;
    for (u32 kx = 0; kx < k; ++kx) {
      const int xx = (int)(ox * stride + kx) - (int)pad;
      if (xx < 0 || xx >= (int)w) continue;
      const float *from = x + ((b * h + y) * w + xx) * c + first;
      for (u32 j = 0; j < cg; ++j) sum += from[j] * weight[((u64)(ch * cg + j) * k + ky) * k + kx];
    }
  }
  out[i] = sum;
}

// Its input gradient; n = b·h·w·c.
extern "C" __global__ void grouped_input(u64 n, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh, u32 ow,
                                         u32 o, u32 groups, const float *grad, const float *weight, float *dx) {
  INDEX(n);
  const u32 ch = i % c, x = i / c % w, y = i / ((u64)c * w) % h;
  const u64 b = i / ((u64)c * w * h);
  const u32 cg = c / groups, og = o / groups, first = ch / cg * og, j = ch % cg;
  float sum = 0.f;
  for (u32 ky = 0; ky < k; ++ky) {
    const int sy = (int)(y + pad) - (int)ky;
    if (sy < 0 || sy % (int)stride || sy / (int)stride >= (int)oh) continue;
    for (u32 kx = 0; kx < k; ++kx) {
      const int sx = (int)(x + pad) - (int)kx;
      if (sx < 0 || sx % (int)stride || sx / (int)stride >= (int)ow) continue;
      const float *from = grad + ((b * oh + sy / stride) * ow + sx / stride) * o + first;
      for (u32 q = 0; q < og; ++q) sum += from[q] * weight[((u64)((first + q) * cg + j) * k + ky) * k + kx];
    }
  }
  dx[i] = sum;
}

// Its weight gradient, a partial sum per chunk of rows: partials [chunks, o·cg·k·k]. Blocks of 32 output
// channels; grid.y = input channel of the group and tap, grid.z = chunk.
extern "C" __global__ void grouped_weight(u64 rows, u64 chunk, u32 h, u32 w, u32 c, u32 k, u32 stride, u32 pad, u32 oh,
                                          u32 ow, u32 o, u32 groups, const float *x, const float *grad,
                                          float *partials) {
  const u32 ch = blockIdx.x * blockDim.x + threadIdx.x;
  if (ch >= o) return;
  const u32 taps = k * k, tap = blockIdx.y % taps, j = blockIdx.y / taps;
  const u32 cg = c / groups, from = ch / (o / groups) * cg + j;
  const u64 start = blockIdx.z * chunk, end = start + chunk < rows ? start + chunk : rows;
  float sum = 0.f;
  for (u64 row = start; row < end; ++row) {
    const u32 ox = row % ow, oy = row / ow % oh;
    const u64 b = row / ((u64)ow * oh);
    const int y = (int)(oy * stride + tap / k) - (int)pad, xx = (int)(ox * stride + tap % k) - (int)pad;
    if (y < 0 || y >= (int)h || xx < 0 || xx >= (int)w) continue;
    sum += grad[row * o + ch] * x[((b * h + y) * w + xx) * c + from];
  }
  partials[blockIdx.z * ((u64)o * cg * taps) + ((u64)ch * cg + j) * taps + tap] = sum;
}

// y = clamp(y + bias) in place; bias may be null; n = rows·c.
extern "C" __global__ void bias_clamp(u64 n, u32 c, const float *bias, float lo, float hi, float *y) {
  INDEX(n);
  const float v = y[i] + (bias ? bias[i % c] : 0.f);
  y[i] = fminf(fmaxf(v, lo), hi);
}
