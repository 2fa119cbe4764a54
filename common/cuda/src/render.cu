// Views of pictures that lie on the device; twin of the crate views, which is the definition. A view's
// places are picture, partner, how they are mixed (0 not at all, 1 by weight, 2 by a rectangle, 3 by a square
// that holds all of the partner) and its top, bottom, left, right; its shots are the weight of its own, then of
// picture and partner each:
// matrix (4), centre (2), brightness, contrast, saturation.
#include "index.cuh"

#define PLACES 7
#define SHOTS 19
#define SHOT 9

static __device__ u32 mirror(int i, int n) {
  i %= 2 * n;
  if (i < 0) i += 2 * n;
  return i < n ? i : 2 * n - 1 - i;
}

// Bilinear samples in 0..1 of pictures [3, size, size] → raw [b, 2, size, size, 3]; beyond the border they are
// mirrored. A thread per pixel of picture and partner; n = b·2·size².
extern "C" __global__ void shoot(u64 n, u32 size, const unsigned char *pictures, const u32 *places, const float *shots,
                                 float *raw) {
  INDEX(n);
  const u64 plane = (u64)size * size, view = i / plane / 2;
  const u32 which = i / plane % 2, at = i % plane;
  const u32 *place = places + view * PLACES;
  if (which && !place[2]) return;
  const unsigned char *p = pictures + place[which] * 3 * plane;
  const float *shot = shots + view * SHOTS + 1 + which * SHOT;
  const float half = ((float)size - 1.f) / 2.f, dy = (float)(at / size) - half, dx = (float)(at % size) - half;
  const float y = shot[4] * (float)size - 0.5f + shot[0] * dy + shot[1] * dx;
  const float x = shot[5] * (float)size - 0.5f + shot[2] * dy + shot[3] * dx;
  const float fy = y - floorf(y), fx = x - floorf(x);
  const int low = (int)floorf(y), left = (int)floorf(x);
  const u32 y0 = mirror(low, size), y1 = mirror(low + 1, size), x0 = mirror(left, size), x1 = mirror(left + 1, size);
  for (u32 c = 0; c < 3; ++c, p += plane) {
    const float a = p[y0 * size + x0], b = p[y0 * size + x1], d = p[y1 * size + x0], e = p[y1 * size + x1];
    const float top = a + fx * (b - a), bottom = d + fx * (e - d);
    raw[i * 3 + c] = (top + fy * (bottom - top)) / 255.f;
  }
}

static __device__ float grey(const float *p) { return 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2]; }

// Σ grey · brightness of each row: rows [size, b·2]; n = b·2·size.
extern "C" __global__ void grey_rows(u64 n, u32 size, const u32 *places, const float *shots, const float *raw,
                                     float *rows) {
  INDEX(n);
  const u64 half = i / size, view = half / 2;
  const u32 row = i % size, which = half % 2;
  float sum = 0.f;
  if (!which || places[view * PLACES + 2]) {
    const float brightness = shots[view * SHOTS + 1 + which * SHOT + 6];
    for (u32 x = 0; x < size; ++x) sum += grey(raw + ((half * size + row) * size + x) * 3) * brightness;
  }
  rows[row * (n / size) + half] = sum;
}

// Brightness, contrast about the mean grey, saturation about each pixel's own: out [3] of p [3].
static __device__ void recolour(const float *p, const float *colour, float mean, float *out) {
  if (colour[0] == 1.f && colour[1] == 1.f && colour[2] == 1.f) {
    for (u32 c = 0; c < 3; ++c) out[c] = p[c];
    return;
  }
  for (u32 c = 0; c < 3; ++c) out[c] = fminf(fmaxf(colour[1] * (p[c] * colour[0] - mean) + mean, 0.f), 1.f);
  const float g = grey(out);
  for (u32 c = 0; c < 3; ++c) out[c] = fminf(fmaxf(g + colour[2] * (out[c] - g), 0.f), 1.f);
}

// Pixel (y, x) of a recoloured view `raw` [size, size, 3] made `side` pixels wide: the mean of all pixels that its
// square touches, row by row.
static __device__ void shrink(const float *raw, const float *colour, float mean, u32 size, u32 side, u32 y, u32 x,
                              float *out) {
  const u32 top = y * size / side, bottom = ((y + 1) * size + side - 1) / side;
  const u32 left = x * size / side, right = ((x + 1) * size + side - 1) / side;
  float pixel[3];
  for (u32 c = 0; c < 3; ++c) out[c] = 0.f;
  for (u32 j = top; j < bottom; ++j)
    for (u32 i = left; i < right; ++i) {
      recolour(raw + ((u64)j * size + i) * 3, colour, mean, pixel);
      for (u32 c = 0; c < 3; ++c) out[c] += pixel[c];
    }
  for (u32 c = 0; c < 3; ++c) out[c] /= (float)((bottom - top) * (right - left));
}

// Recoloured, mixed and normalized: out [b, size, size, 3]; sums [b·2] of greys. A thread per pixel;
// n = b·size².
extern "C" __global__ void mix(u64 n, u32 size, const u32 *places, const float *shots, const float *raw,
                               const float *sums, const float *mean, const float *deviation, float *out) {
  INDEX(n);
  const u64 plane = (u64)size * size, view = i / plane, at = i % plane;
  const u32 *place = places + view * PLACES;
  const float *shot = shots + view * SHOTS;
  const u32 y = at / size, x = at % size;
  float own[3], other[3];
  recolour(raw + (view * 2 * plane + at) * 3, shot + 1 + 6, sums[view * 2] / (float)plane, own);
  if (place[2]) {
    const float *partner = raw + (view * 2 + 1) * plane * 3, *colour = shot + 1 + SHOT + 6;
    const float light = sums[view * 2 + 1] / (float)plane, w = place[2] == 1 ? shot[0] : 1.f;
    const bool inside = place[2] >= 2 && y >= place[3] && y < place[4] && x >= place[5] && x < place[6];
    if (place[2] == 3 && inside)
      shrink(partner, colour, light, size, place[4] - place[3], y - place[3], x - place[5], other);
    else recolour(partner + at * 3, colour, light, other);
    for (u32 c = 0; c < 3; ++c) own[c] = inside ? other[c] : place[2] == 1 ? w * own[c] + (1.f - w) * other[c] : own[c];
  }
  for (u32 c = 0; c < 3; ++c) out[i * 3 + c] = (own[c] - mean[c]) / deviation[c];
}
