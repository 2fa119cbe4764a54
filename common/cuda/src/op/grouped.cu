// Depthwise and grouped convolution over NHWC activations; weights [o, c / groups, k, k].
//
// Depthwise with k = 3 or 5 and stride 1 or 2: a block has up to 32 · V channels and takes tiles of four positions of a
// line, a tile and V channels a thread: what the four windows share is read once, and taps stand in shared memory, where
// threads of neighbouring channels find theirs side by side ([k·k, c], turned round as they are read). All others: a
// thread per value of the result. Every sum is one thread's, or a tree that shapes decide.
#include "../sums.cuh"

// How lines are cut in tiles of four, and tiles into blocks; made by `Tiles` in grouped.rs.
struct Tiles {
  u32 count, chunk, log; // chunk: tiles of a block; 1 << log threads have neighbouring channels
  Divisor by_line;       // tiles of a line
};

static __device__ inline Cut cut_of(const Slide &s, const Tiles &t) { return {t.count, t.chunk, s.c, t.log, s.lanes}; }

static __device__ inline u32 last_tile(const Tiles &t) {
  const u32 end = (blockIdx.y + 1) * t.chunk;
  return end < t.count ? end : t.count;
}

// Taps of the block's channels, [k·k, 32 · V]; mirrored, if `turned`.
template <u32 V, u32 K>
static __device__ inline void read_taps(const Slide &s, u32 log, bool turned, const float *weight,
                                        float (*taps)[32 * V]) {
  const u32 wide = (1u << log) * V, first = blockIdx.x * wide;
  for (u32 q = threadIdx.x; q < wide * K * K; q += THREADS) {
    const u32 ch = q / (K * K), tap = q % (K * K);
    if (first + ch < s.c) taps[turned ? K * K - 1 - tap : tap][ch] = weight[first * K * K + q];
  }
  __syncthreads();
}

// Sums of one thread for the statistics of a batch norm behind: of d = y − pivot, its first value.
template <u32 V> struct Moments {
  float pivot[V], sum[2][V];
  u32 count;
};

template <u32 V> static __device__ inline void note(Moments<V> &m, const Floats<V> &y) {
  if (m.count == 0)
    for (u32 j = 0; j < V; ++j) m.pivot[j] = y.v[j];
  ++m.count;
  for (u32 j = 0; j < V; ++j) {
    const float d = y.v[j] - m.pivot[j];
    m.sum[0][j] += d;
    m.sum[1][j] = fmaf(d, d, m.sum[1][j]);
  }
}

// All threads' to one pivot, that of the block's first tile, and down the tree: partials [chunks, 3, c] as
// `stats_partials` leaves them.
template <u32 V>
static __device__ inline void leave(const Cut &cut, Moments<V> &m, float *pivots, float *room, float *partials) {
  const u32 at = column(cut) - blockIdx.x * (V << cut.log);
  if (threadIdx.x >> cut.log == 0)
    for (u32 j = 0; j < V; ++j) pivots[at + j] = m.pivot[j];
  __syncthreads();
  for (u32 j = 0; j < V; ++j) {
    const float delta = m.count ? m.pivot[j] - pivots[at + j] : 0.f, s = m.sum[0][j], n = (float)m.count;
    m.sum[0][j] = fmaf(n, delta, s);
    m.sum[1][j] += delta * (s + m.sum[0][j]);
  }
  float *to = partials + blockIdx.y * 3 * cut.c;
  column_tree<V, 2>(cut, m.sum, room, [&](u32 which, u32 ch, float v) {
    if (which == 0) to[ch] = pivots[ch - blockIdx.x * (V << cut.log)];
    to[(which + 1) * cut.c + ch] = v;
  });
}

template <u32 V, u32 K, u32 S>
static __device__ void filter(float *room, const Slide &s, const Tiles &t, u32 turned, const float *x,
                              const float *weight, const float *bias, float lo, float hi, float *y, float *partials) {
  float(*taps)[32 * V] = (float(*)[32 * V])room;
  read_taps<V, K>(s, t.log, turned, weight, taps);
  const Cut cut = cut_of(s, t);
  const u32 ch = column(cut), at = ch - blockIdx.x * (V << t.log), end = ch < s.c ? last_tile(t) : 0;
  Floats<V> start = {};
  if (bias && ch < s.c) start = gather<V>(bias + ch);
  Moments<V> moments = {};
  for (u32 tile = blockIdx.y * t.chunk + (threadIdx.x >> t.log); tile < end; tile += THREADS >> t.log) {
    u32 q, oy;
    const u32 row = divide(tile, t.by_line, &q), b = divide(row, s.by_oh, &oy), left = q * 4 * S - s.pad;
    Floats<V> out[4] = {start, start, start, start};
#pragma unroll
    for (u32 ky = 0; ky < K; ++ky) {
      const u32 iy = oy * S + ky - s.pad;
      if (iy >= s.h) continue;
      const float *line = x + (b * s.h + iy) * s.w * s.c + ch;
      Floats<V> w[K];
#pragma unroll
      for (u32 kx = 0; kx < K; ++kx) w[kx] = load<V>(&taps[ky * K + kx][at]);
#pragma unroll
      for (u32 column = 0; column < 3 * S + K; ++column) {
        const u32 ix = left + column;
        Floats<V> v = {};
        if (ix < s.w) v = load<V>(line + ix * s.c);
#pragma unroll
        for (u32 o = 0; o < 4; ++o)
          if (column >= o * S && column - o * S < K)
            for (u32 j = 0; j < V; ++j) out[o].v[j] = fmaf(v.v[j], w[column - o * S].v[j], out[o].v[j]);
      }
    }
    float *to = y + (row * s.ow + q * 4) * s.c + ch;
#pragma unroll
    for (u32 o = 0; o < 4; ++o) {
      if (q * 4 + o >= s.ow) break;
      for (u32 j = 0; j < V; ++j) out[o].v[j] = clamped(out[o].v[j], lo, hi);
      store<V>(to + o * s.c, out[o]);
      if (partials) note(moments, out[o]);
    }
  }
  if (partials) leave(cut, moments, room + K * K * 128, room + K * K * 128 + 128, partials);
}

// f<V, K, S>(…) for the lanes and the stride of s.
#define BY_STRIDE(s, f, K, ...)                        \
  do {                                                 \
    if ((s).lanes == 4) {                              \
      if ((s).stride == 1) f<4, K, 1>(__VA_ARGS__);    \
      else f<4, K, 2>(__VA_ARGS__);                    \
    } else {                                           \
      if ((s).stride == 1) f<1, K, 1>(__VA_ARGS__);    \
      else f<1, K, 2>(__VA_ARGS__);                    \
    }                                                  \
  } while (0)

// y = clamp(x ∗ weight + bias), and, if there is room for them, the sums for a batch norm behind. With stride 1 the
// gradient of x is the same with mirrored taps, if `turned`: s is then the way back. grid.x: channels, grid.y: tiles.
extern "C" __global__ void depthwise3_forward(Slide s, Tiles t, u32 turned, const float *x, const float *weight,
                                              const float *bias, float lo, float hi, float *y, float *partials) {
  __shared__ __align__(16) float room[9 * 128 + 128 + TREE(2)];
  BY_STRIDE(s, filter, 3, room, s, t, turned, x, weight, bias, lo, hi, y, partials);
}

extern "C" __global__ void depthwise5_forward(Slide s, Tiles t, u32 turned, const float *x, const float *weight,
                                              const float *bias, float lo, float hi, float *y, float *partials) {
  __shared__ __align__(16) float room[25 * 128 + 128 + TREE(2)];
  BY_STRIDE(s, filter, 5, room, s, t, turned, x, weight, bias, lo, hi, y, partials);
}

// Four pixels from `x0` of one line: what a line of gradients says through the taps of one row. With stride 2 a pixel is
// under every other tap; which, follows from ODD, the parity of x0 + pad − (K − 1), alike for all threads.
template <u32 V, u32 K, u32 ODD>
static __device__ inline void back_line(const float *line, u32 first, const Slide &s, const Floats<V> (&w)[K],
                                        Floats<V> (&out)[4]) {
#pragma unroll
  for (u32 n = 0; n < (K + 2) / 2 + 1; ++n) {
    Floats<V> g = {};
    if (first + n < s.ow) g = load<V>(line + (first + n) * s.c);
#pragma unroll
    for (u32 o = 0; o < 4; ++o) {
      const u32 kx = o + K - 1 - ODD - 2 * n; // wraps where no tap is
      if (kx < K)
        for (u32 j = 0; j < V; ++j) out[o].v[j] = fmaf(g.v[j], w[kx].v[j], out[o].v[j]);
    }
  }
}

template <u32 V, u32 K>
static __device__ void back_by_two(float *room, const Slide &s, const Tiles &t, const float *grad, const float *weight,
                                   float *dx) {
  float(*taps)[32 * V] = (float(*)[32 * V])room;
  read_taps<V, K>(s, t.log, false, weight, taps);
  const u32 ch = column(cut_of(s, t)), at = ch - blockIdx.x * (V << t.log), end = ch < s.c ? last_tile(t) : 0;
  for (u32 tile = blockIdx.y * t.chunk + (threadIdx.x >> t.log); tile < end; tile += THREADS >> t.log) {
    u32 q, y;
    const u32 row = divide(tile, t.by_line, &q), b = divide(row, s.by_h, &y);
    const int from = (int)(q * 4 + s.pad) - (int)(K - 1);
    const bool odd = from & 1;
    const u32 first = (u32)((from + odd) >> 1);
    Floats<V> out[4] = {};
#pragma unroll
    for (u32 ky = 0; ky < K; ++ky) {
      const u32 oy = reader<2>(y, ky, s, s.oh);
      if (oy >= s.oh) continue;
      const float *line = grad + (b * s.oh + oy) * s.ow * s.c + ch;
      Floats<V> w[K];
#pragma unroll
      for (u32 kx = 0; kx < K; ++kx) w[kx] = load<V>(&taps[ky * K + kx][at]);
      if (odd) back_line<V, K, 1>(line, first, s, w, out);
      else back_line<V, K, 0>(line, first, s, w, out);
    }
    float *to = dx + (row * s.w + q * 4) * s.c + ch;
#pragma unroll
    for (u32 o = 0; o < 4; ++o)
      if (q * 4 + o < s.w) store<V>(to + o * s.c, out[o]);
  }
}

// The gradient of x for stride 2; tiles are of lines of x.
extern "C" __global__ void depthwise3_input(Slide s, Tiles t, const float *grad, const float *weight, float *dx) {
  __shared__ __align__(16) float room[9 * 128];
  if (s.lanes == 4) back_by_two<4, 3>(room, s, t, grad, weight, dx);
  else back_by_two<1, 3>(room, s, t, grad, weight, dx);
}

extern "C" __global__ void depthwise5_input(Slide s, Tiles t, const float *grad, const float *weight, float *dx) {
  __shared__ __align__(16) float room[25 * 128];
  if (s.lanes == 4) back_by_two<4, 5>(room, s, t, grad, weight, dx);
  else back_by_two<1, 5>(room, s, t, grad, weight, dx);
}

// Rows of taps of one thread: all nine sums of a window of 3, one row of one of 5, whose 25 · V would not fit the
// registers.
template <u32 V, u32 K, u32 S>
static __device__ void weights(float *room, const Slide &s, const Tiles &t, const float *x, const float *grad,
                               float *partials) {
  constexpr u32 LINES = K == 3 ? 3 : 1;
  const Cut cut = cut_of(s, t);
  const u32 ch = column(cut), end = ch < s.c ? last_tile(t) : 0, above = blockIdx.z * LINES;
  float sum[LINES * K][1][V] = {};
  for (u32 tile = blockIdx.y * t.chunk + (threadIdx.x >> t.log); tile < end; tile += THREADS >> t.log) {
    u32 q, oy;
    const u32 row = divide(tile, t.by_line, &q), b = divide(row, s.by_oh, &oy), left = q * 4 * S - s.pad;
    const float *from = grad + (row * s.ow + q * 4) * s.c + ch;
    Floats<V> g[4] = {};
#pragma unroll
    for (u32 o = 0; o < 4; ++o)
      if (q * 4 + o < s.ow) g[o] = load<V>(from + o * s.c);
#pragma unroll
    for (u32 r = 0; r < LINES; ++r) {
      const u32 iy = oy * S + above + r - s.pad;
      if (iy >= s.h) continue;
      const float *line = x + (b * s.h + iy) * s.w * s.c + ch;
#pragma unroll
      for (u32 column = 0; column < 3 * S + K; ++column) {
        const u32 ix = left + column;
        if (ix >= s.w) continue;
        const Floats<V> v = load<V>(line + ix * s.c);
#pragma unroll
        for (u32 o = 0; o < 4; ++o)
          if (column >= o * S && column - o * S < K)
            for (u32 j = 0; j < V; ++j) {
              float &to = sum[r * K + column - o * S][0][j];
              to = fmaf(g[o].v[j], v.v[j], to);
            }
      }
    }
  }
#pragma unroll
  for (u32 tap = 0; tap < LINES * K; ++tap)
    column_tree<V, 1>(cut, sum[tap], room, [&](u32, u32 ch, float v) {
      partials[(blockIdx.y * s.c + ch) * K * K + above * K + tap] = v;
    });
}

// The gradient of depthwise weights, in parts [chunks, c, k·k].
extern "C" __global__ void depthwise3_weight(Slide s, Tiles t, const float *x, const float *grad, float *partials) {
  __shared__ float room[TREE(1)];
  BY_STRIDE(s, weights, 3, room, s, t, x, grad, partials);
}

// grid.z: rows of taps.
extern "C" __global__ void depthwise5_weight(Slide s, Tiles t, const float *x, const float *grad, float *partials) {
  __shared__ float room[TREE(1)];
  BY_STRIDE(s, weights, 5, room, s, t, x, grad, partials);
}

// Sizes of a convolution in groups: c / groups inputs and o / groups outputs of each.
struct Groups {
  Divisor by_o, by_inputs, by_outputs;
};

// y = clamp(x ∗ weight + bias); n = b·oh·ow·o.
extern "C" __global__ void grouped_forward(u32 n, Slide s, Groups g, const float *x, const float *weight,
                                           const float *bias, float lo, float hi, float *y) {
  EACH(n);
  u32 ch, ox, oy;
  const u32 b = divide(divide(divide(i, g.by_o, &ch), s.by_ow, &ox), s.by_oh, &oy);
  const u32 inputs = g.by_inputs.d, first = divide(ch, g.by_outputs) * inputs;
  float sum = bias ? bias[ch] : 0.f;
  for (u32 ky = 0; ky < s.k; ++ky) {
    const u32 iy = oy * s.stride + ky - s.pad;
    if (iy >= s.h) continue;
    for (u32 kx = 0; kx < s.k; ++kx) {
      const u32 ix = ox * s.stride + kx - s.pad;
      if (ix >= s.w) continue;
      const float *from = x + index_of(s, b, iy, ix, first), *w = weight + (ch * inputs * s.k + ky) * s.k + kx;
      for (u32 j = 0; j < inputs; ++j) sum = fmaf(from[j], w[j * s.k * s.k], sum);
    }
  }
  y[i] = clamped(sum, lo, hi);
}

// Its input gradient; n = b·h·w·c, s of one channel a thread.
extern "C" __global__ void grouped_input(u32 n, Slide s, Groups g, const float *grad, const float *weight, float *dx) {
  EACH(n);
  const Place at = pixel(i, s);
  u32 j;
  const u32 inputs = g.by_inputs.d, outputs = g.by_outputs.d, first = divide(at.ch, g.by_inputs, &j) * outputs;
  float sum = 0.f;
  for (u32 ky = 0; ky < s.k; ++ky) {
    const u32 oy = reader<0>(at.y, ky, s, s.oh);
    if (oy >= s.oh) continue;
    for (u32 kx = 0; kx < s.k; ++kx) {
      const u32 ox = reader<0>(at.x, kx, s, s.ow);
      if (ox >= s.ow) continue;
      const float *from = grad + ((at.b * s.oh + oy) * s.ow + ox) * g.by_o.d + first;
      const float *w = weight + ((first * inputs + j) * s.k + ky) * s.k + kx;
      for (u32 q = 0; q < outputs; ++q) sum = fmaf(from[q], w[q * inputs * s.k * s.k], sum);
    }
  }
  dx[i] = sum;
}

// Its weight gradient, in parts [chunks, o, c / groups, k·k] of the rows of `cut`, which are positions, its columns
// output channels; grid.z: input of the group and tap.
extern "C" __global__ void grouped_weight(Cut cut, Slide s, Groups g, const float *x, const float *grad,
                                          float *partials) {
  __shared__ float room[TREE(1)];
  u32 tap, kx;
  const u32 taps = s.k * s.k, j = blockIdx.z / taps;
  tap = blockIdx.z % taps;
  const u32 ky = divide(tap, s.by_k, &kx);
  column_sums<1, 1>(
      cut, room,
      [&](u32 row, u32 ch, float(&sum)[1][1]) {
        u32 ox, oy;
        const u32 b = divide(divide(row, s.by_ow, &ox), s.by_oh, &oy);
        const u32 iy = oy * s.stride + ky - s.pad, ix = ox * s.stride + kx - s.pad;
        if (iy >= s.h || ix >= s.w) return;
        const float v = x[index_of(s, b, iy, ix, divide(ch, g.by_outputs) * g.by_inputs.d + j)];
        sum[0][0] = fmaf(grad[row * cut.c + ch], v, sum[0][0]);
      },
      [&](u32, u32 ch, float v) { partials[((blockIdx.y * cut.c + ch) * g.by_inputs.d + j) * taps + tap] = v; });
}
