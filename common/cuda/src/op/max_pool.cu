// The largest value in each window, over NHWC activations; a thread per pixel and four channels.
#include "../slide.cuh"

// Places of V neighbouring channels, bytes.
template <u32 V> static __device__ void keep_places(unsigned char *to, const u32 (&place)[V]) {
  if constexpr (V == 4) *(uchar4 *)to = make_uchar4(place[0], place[1], place[2], place[3]);
  else to[0] = place[0];
}

template <u32 V> static __device__ void read_places(const unsigned char *from, u32 (&place)[V]) {
  if constexpr (V == 4) {
    const uchar4 q = *(const uchar4 *)from;
    place[0] = q.x, place[1] = q.y, place[2] = q.z, place[3] = q.w;
  } else place[0] = from[0];
}

// With `scale`, maxima of clamp(x · scale + shift): a batch norm in front is never stored.
template <u32 V, u32 K, u32 S>
static __device__ void maxima(u32 i, const Slide &s, const float *x, const float *scale, const float *shift, float lo,
                              float hi, float *y, unsigned char *places) {
  const Place at = position(i, s);
  Floats<V> factor = {}, summand = {}, best = {};
  if (scale) factor = load<V>(scale + at.ch), summand = load<V>(shift + at.ch);
  u32 place[V] = {};
  bool found = false;
  over_window<K, S>(at, s, [&](u32 iy, u32 ix, u32 tap) {
    const Floats<V> here = load<V>(x + index_of(s, at.b, iy, ix, at.ch));
    for (u32 j = 0; j < V; ++j) {
      const float v = scale ? clamped(fmaf(here.v[j], factor.v[j], summand.v[j]), lo, hi) : here.v[j];
      // What is no number is the largest, as in PyTorch: it must not hide.
      if (found && !(v > best.v[j]) && v == v) continue;
      best.v[j] = v;
      place[j] = tap;
    }
    found = true;
  });
  store<V>(y + i * V, best);
  keep_places<V>(places + i * V, place);
}

// Maxima of x [b, h, w, c] and where in the window they are, the first of equals; scale may be null.
// n = b·oh·ow·(c / lanes).
extern "C" __global__ void max_forward(u32 n, Slide s, const float *x, const float *scale, const float *shift, float lo,
                                       float hi, float *y, unsigned char *places) {
  EACH(n);
  BY_WINDOW(s, maxima, i, s, x, scale, shift, lo, hi, y, places);
}

template <u32 V, u32 K, u32 S>
static __device__ void gathered(u32 i, const Slide &s, const float *grad, const unsigned char *places, float *dx) {
  const u32 k = K ? K : s.k;
  const Place at = pixel(i, s);
  Floats<V> sum = {};
  over_readers<K, S>(at, s, [&](u32 oy, u32 ox, u32 ky, u32 kx) {
    const u32 o = index_of_position(s, at.b, oy, ox, at.ch);
    u32 place[V];
    read_places<V>(places + o, place);
    const Floats<V> g = load<V>(grad + o);
    for (u32 j = 0; j < V; ++j)
      if (place[j] == ky * k + kx) sum.v[j] += g.v[j];
  });
  store<V>(dx + i * V, sum);
}

// Its input gradient: what the windows over a value say; n = b·h·w·(c / lanes).
extern "C" __global__ void max_gather(u32 n, Slide s, const float *grad, const unsigned char *places, float *dx) {
  EACH(n);
  BY_WINDOW(s, gathered, i, s, grad, places, dx);
}

template <u32 V, u32 K, u32 S>
static __device__ void scattered(u32 i, const Slide &s, const float *grad, const unsigned char *places, float *dx) {
  const u32 k = K ? K : s.k;
  const Place at = position(i, s);
  const Floats<V> g = load<V>(grad + i * V);
  u32 place[V];
  read_places<V>(places + i * V, place);
  // The last windows of a side have what lies behind them, too, which no window reads.
  const u32 tall = at.y + 1 == s.oh ? s.h - at.y * k : k, wide = at.x + 1 == s.ow ? s.w - at.x * k : k;
  for (u32 ky = 0; ky < tall; ++ky)
    for (u32 kx = 0; kx < wide; ++kx) {
      Floats<V> out;
      for (u32 j = 0; j < V; ++j) out.v[j] = ky < k && kx < k && place[j] == ky * k + kx ? g.v[j] : 0.f;
      store<V>(dx + index_of(s, at.b, at.y * k + ky, at.x * k + kx, at.ch), out);
    }
}

// The same where windows stand side by side: each gradient is read once. n = b·oh·ow·(c / lanes).
extern "C" __global__ void max_scatter(u32 n, Slide s, const float *grad, const unsigned char *places, float *dx) {
  EACH(n);
  BY_WINDOW(s, scattered, i, s, grad, places, dx);
}
