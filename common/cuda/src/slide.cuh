// A window moved over pictures [b, h, w, c], with divisions by multiplications; the twin of slide.rs, which makes it.
// All indices are below 2^31: `Engine::begin` refuses larger results.
#pragma once
#include "index.cuh"

// Division by d of n < 2^31: 2n · m / 2^32 >> s, with s = ⌈log2 d⌉ and m = ⌈2^(31 + s) / d⌉ (Granlund & Montgomery
// 1994, theorem 4.2). A division by a run-time number takes a GPU some twenty instructions, this takes three.
struct Divisor {
  u32 d, m, s;
};

static __device__ inline u32 divide(u32 n, const Divisor &by) { return __umulhi(n + n, by.m) >> by.s; }

// Quotient and remainder.
static __device__ inline u32 divide(u32 n, const Divisor &by, u32 *rest) {
  const u32 q = divide(n, by);
  *rest = n - q * by.d;
  return q;
}

// Windows whose size is known when a kernel is compiled.
#define ANY_WINDOW 0
#define K3S1 1
#define K3S2 2
#define K2S2 3

struct Slide {
  u32 h, w, oh, ow;         // of what windows read, of their positions
  u32 c, k, stride, pad;    // pad: pixels of margin before a side
  u32 kind, lanes;          // one of the above; channels of a thread, 4 or 1
  Divisor by_c, by_w, by_h; // c / lanes, w, h
  Divisor by_ow, by_oh, by_k, by_stride;
};

// f<V, K, S>(…) for the lanes and the window of s, K = S = 0 for any: all threads of a launch take one branch.
#define BY_WINDOW(s, f, ...)                              \
  do {                                                    \
    switch ((s).kind * 8 + (s).lanes) {                   \
      case K3S1 * 8 + 4: return f<4, 3, 1>(__VA_ARGS__); \
      case K3S2 * 8 + 4: return f<4, 3, 2>(__VA_ARGS__); \
      case K2S2 * 8 + 4: return f<4, 2, 2>(__VA_ARGS__); \
      case ANY_WINDOW * 8 + 4: return f<4, 0, 0>(__VA_ARGS__); \
      case K3S1 * 8 + 1: return f<1, 3, 1>(__VA_ARGS__); \
      case K3S2 * 8 + 1: return f<1, 3, 2>(__VA_ARGS__); \
      case K2S2 * 8 + 1: return f<1, 2, 2>(__VA_ARGS__); \
      default: return f<1, 0, 0>(__VA_ARGS__);            \
    }                                                     \
  } while (0)

// Channel (the first of a thread's), column, row and picture of a place.
struct Place {
  u32 ch, x, y, b;
};

static __device__ inline Place place_of(u32 i, const Slide &s, const Divisor &by_columns, const Divisor &by_rows) {
  Place at;
  const u32 row = divide(divide(i, s.by_c, &at.ch), by_columns, &at.x);
  at.b = divide(row, by_rows, &at.y);
  at.ch *= s.lanes;
  return at;
}

// Thread i of b·oh·ow·(c / lanes): a position.
static __device__ inline Place position(u32 i, const Slide &s) { return place_of(i, s, s.by_ow, s.by_oh); }

// Thread i of b·h·w·(c / lanes): a pixel that windows read.
static __device__ inline Place pixel(u32 i, const Slide &s) { return place_of(i, s, s.by_w, s.by_h); }

// Where channel ch of pixel (y, x) of picture b lies.
static __device__ inline u32 index_of(const Slide &s, u32 b, u32 y, u32 x, u32 ch) {
  return ((b * s.h + y) * s.w + x) * s.c + ch;
}

// Where channel ch of position (y, x) of picture b lies, of results as wide as what is read.
static __device__ inline u32 index_of_position(const Slide &s, u32 b, u32 y, u32 x, u32 ch) {
  return ((b * s.oh + y) * s.ow + x) * s.c + ch;
}

// The position along a side whose tap k reads `at`, or no position (`positions` or more): windows begin every S pixels,
// `pad` before the first.
template <u32 S> static __device__ inline u32 reader(u32 at, u32 k, const Slide &s, u32 positions) {
  const u32 from = at + s.pad - k; // wraps where tap k of no window can read it
  if (from >> 31) return positions;
  if (S == 1) return from;
  if (S == 2) return from & 1 ? positions : from >> 1;
  u32 rest;
  const u32 q = divide(from, s.by_stride, &rest);
  return rest ? positions : q;
}

// f(y, x, tap) for what the window at `at` reads inside the picture, row by row.
template <u32 K, u32 S, class F> static __device__ inline void over_window(const Place &at, const Slide &s, F f) {
  const u32 k = K ? K : s.k, stride = S ? S : s.stride;
#pragma unroll
  for (u32 ky = 0; ky < k; ++ky) {
    const u32 y = at.y * stride + ky - s.pad;
    if (y >= s.h) continue;
#pragma unroll
    for (u32 kx = 0; kx < k; ++kx) {
      const u32 x = at.x * stride + kx - s.pad;
      if (x < s.w) f(y, x, ky * k + kx);
    }
  }
}

// f(oy, ox, ky, kx) for each window that reads the pixel at `at`, at (oy, ox), by its tap (ky, kx): windows row by row, from
// the one in which this is the last row to that in which it is the first.
template <u32 K, u32 S, class F> static __device__ inline void over_readers(const Place &at, const Slide &s, F f) {
  const u32 k = K ? K : s.k;
#pragma unroll
  for (u32 up = 1; up <= k; ++up) {
    const u32 oy = reader<S>(at.y, k - up, s, s.oh);
    if (oy >= s.oh) continue;
#pragma unroll
    for (u32 left = 1; left <= k; ++left) {
      const u32 ox = reader<S>(at.x, k - left, s, s.ow);
      if (ox < s.ow) f(oy, ox, k - up, k - left);
    }
  }
}
