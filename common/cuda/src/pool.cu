// Pools; twin of engine/src/pool.rs. One thread per value of the result, 256 a block.
typedef unsigned int u32;
typedef unsigned long long u64;

#define INDEX(n)                                                      \
  const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= (n)) return

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

// Mean over the pixels of each picture: y [b, c]; n = b·c.
extern "C" __global__ void mean_forward(u64 n, u32 pixels, u32 c, const float *x, float *y) {
  INDEX(n);
  const u32 ch = i % c;
  const u64 b = i / c;
  float sum = 0.f;
  for (u32 p = 0; p < pixels; ++p) sum += x[(b * pixels + p) * c + ch];
  y[i] = sum / (float)pixels;
}

// Its input gradient; n = b·pixels·c.
extern "C" __global__ void mean_backward(u64 n, u32 pixels, u32 c, const float *grad, float *dx) {
  INDEX(n);
  dx[i] = grad[i / ((u64)pixels * c) * c + i % c] / (float)pixels;
}
