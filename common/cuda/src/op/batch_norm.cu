// Batch norm, and factors and summands per channel, with an activation that clamps. Activations are rows of c channels.
// What backwards needs of the result it makes again of x, by the same multiplication and addition: that is cheaper than
// reading it.
#include "../sums.cuh"

// Rows of a thread where each has values of its own: what belongs to a channel is read once for them.
#define ROWS 4

// partials [chunks, 3, c]: pivot, Σd, Σd² with d = x − pivot, the first row of the chunk: with it a mean that is large
// against the deviation does not cancel the variance away.
extern "C" __global__ void stats_partials(Cut cut, const float *x, float *partials) {
  __shared__ float room[TREE(2)];
  const float *first = x + blockIdx.y * cut.chunk * cut.c;
  float *to = partials + blockIdx.y * 3 * cut.c;
  by_lanes(cut.lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> pivot = {};
    if (column(cut) < cut.c) pivot = load<V>(first + column(cut));
    column_sums<V, 2>(
        cut, room,
        [&](u32 row, u32 ch, float(&sum)[2][V]) {
          const Floats<V> v = load<V>(x + row * cut.c + ch);
          for (u32 j = 0; j < V; ++j) {
            const float d = v.v[j] - pivot.v[j];
            sum[0][j] += d;
            sum[1][j] = fmaf(d, d, sum[1][j]);
          }
        },
        [&](u32 m, u32 ch, float v) {
          if (m == 0) to[ch] = first[ch];
          to[(m + 1) * cut.c + ch] = v;
        });
  });
}

// Of what the parts of a layer's rows are: `chunk` tiles each of `tiles`, a tile being four values of a line of
// `width`, or what is left of it; rows are tiles of lines of one.
struct Parts {
  u32 tiles, chunk, width;
  Divisor by_line; // tiles of a line
};

static __device__ inline u32 values_before(const Parts &of, u32 part) {
  const u32 tile = part * of.chunk < of.tiles ? part * of.chunk : of.tiles;
  u32 rest;
  const u32 line = divide(tile, of.by_line, &rest);
  return line * of.width + (4 * rest < of.width ? 4 * rest : of.width);
}

// Mean and deviation of all rows, γ and β with them as scale and shift; the stored statistics move by the share
// `momentum` towards mean and unbiased variance. All parts are brought to the pivot of the first, itself a value of the
// channel, so that in f64 nothing cancels. A bias before, which the mean takes away again, is not in x, but in the
// stored mean. 8 channels a block.
extern "C" __global__ void stats_combine(u32 c, u32 parts, Parts of, const float *partials, const float *bias,
                                         const float *gamma, const float *beta, float epsilon, float momentum,
                                         float *running_mean, float *running_var, float *mean_out, float *rstd,
                                         float *scale, float *shift) {
  combined<2>(
      c, parts,
      [&](u32 part, u32 i, double(&sum)[2]) {
        const float *p = partials + part * 3 * c + i;
        const double n = values_before(of, part + 1) - values_before(of, part), s = p[c];
        const double delta = (double)p[0] - partials[i];
        sum[0] += s + n * delta;
        sum[1] += p[2 * c] + delta * (s + s + n * delta);
      },
      [&](u32 i, const double(&sum)[2]) {
        const u32 rows = values_before(of, parts);
        const double apart = sum[0] / rows, squares = sum[1] - sum[0] * apart;
        const float m = (float)(partials[i] + apart), v = (float)(squares < 0. ? 0. : squares / rows);
        const float r = 1.f / sqrtf(v + epsilon);
        mean_out[i] = m;
        rstd[i] = r;
        scale[i] = gamma[i] * r;
        shift[i] = fmaf(-m, gamma[i] * r, beta[i]);
        if (momentum > 0.f) {
          const float unbiased = v * ((float)rows / (float)(rows > 1 ? rows - 1 : 1));
          running_mean[i] += momentum * (m + (bias ? bias[i] : 0.f) - running_mean[i]);
          running_var[i] += momentum * (unbiased - running_var[i]);
        }
      });
}

// The same of stored statistics, which stay.
extern "C" __global__ void stats_stored(u32 n, const float *mean, const float *variance, const float *bias,
                                        const float *gamma, const float *beta, float epsilon, float *mean_out,
                                        float *rstd, float *scale, float *shift) {
  EACH(n);
  const float r = 1.f / sqrtf(variance[i] + epsilon), m = mean[i] - (bias ? bias[i] : 0.f);
  mean_out[i] = m;
  rstd[i] = r;
  scale[i] = gamma[i] * r;
  shift[i] = fmaf(-m, gamma[i] * r, beta[i]);
}

// y = clamp(x · scale + shift); n = ⌈rows / ROWS⌉ · (c / lanes).
extern "C" __global__ void normalize(u32 n, u32 rows, u32 lanes, Divisor by_c, const float *x, const float *scale,
                                     const float *shift, float lo, float hi, float *y) {
  EACH(n);
  by_lanes(lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    u32 ch;
    const u32 first = divide(i, by_c, &ch) * ROWS;
    const Floats<V> factor = load<V>(scale + ch * V), summand = load<V>(shift + ch * V);
#pragma unroll
    for (u32 row = first; row < first + ROWS; ++row) {
      if (row >= rows) break;
      const u32 at = (row * by_c.d + ch) * V;
      Floats<V> v = load<V>(x + at);
      for (u32 j = 0; j < V; ++j) v.v[j] = clamped(fmaf(v.v[j], factor.v[j], summand.v[j]), lo, hi);
      store<V>(y + at, v);
    }
  });
}

// partials [chunks, 2, c]: Σg and Σg · (x − mean), g the gradient where the result is inside the bounds.
extern "C" __global__ void norm_partials(Cut cut, const float *x, const float *grad, const float *mean,
                                         const float *scale, const float *shift, float lo, float hi, float *partials) {
  __shared__ float room[TREE(2)];
  by_lanes(cut.lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> middle = {}, factor = {}, summand = {};
    if (column(cut) < cut.c) {
      middle = load<V>(mean + column(cut));
      factor = load<V>(scale + column(cut));
      summand = load<V>(shift + column(cut));
    }
    column_sums<V, 2>(
        cut, room,
        [&](u32 row, u32 ch, float(&sum)[2][V]) {
          const Floats<V> v = load<V>(x + row * cut.c + ch), d = load<V>(grad + row * cut.c + ch);
          for (u32 j = 0; j < V; ++j) {
            const float g = inside(fmaf(v.v[j], factor.v[j], summand.v[j]), lo, hi, d.v[j]);
            sum[0][j] += g;
            sum[1][j] = fmaf(g, v.v[j] - middle.v[j], sum[1][j]);
          }
        },
        [&](u32 m, u32 ch, float v) { partials[(blockIdx.y * 2 + m) * cut.c + ch] = v; });
  });
}

// The gradients of β and γ, Σg and Σg · x̂ with x̂ = (x − mean) · rstd; what a row's gradient loses by what its value
// does to mean and deviation, offset + slope · (x − mean), with inverse = 1 / rows; without statistics that is 0. A
// bias before has no gradient, as the mean takes it away, but without statistics that of x. 8 channels a block.
extern "C" __global__ void norm_combine(u32 c, u32 parts, const float *partials, const float *rstd, const float *scale,
                                        float inverse, float *dgamma, float *dbeta, float *dbias, float *slope,
                                        float *offset) {
  combined<2>(
      c, parts,
      [&](u32 part, u32 i, double(&sum)[2]) {
        sum[0] += partials[part * 2 * c + i];
        sum[1] += partials[(part * 2 + 1) * c + i];
      },
      [&](u32 i, const double(&sum)[2]) {
        const float g = (float)sum[0], product = (float)(sum[1] * rstd[i]);
        dbeta[i] = g;
        dgamma[i] = product;
        if (dbias) dbias[i] = inverse > 0.f ? 0.f : scale[i] * g;
        slope[i] = product * rstd[i] * inverse;
        offset[i] = g * inverse;
      });
}

// dx = γ · rstd · (g − offset − slope · (x − mean)), scale = γ · rstd; n = ⌈rows / ROWS⌉ · (c / lanes).
extern "C" __global__ void norm_input(u32 n, u32 rows, u32 lanes, Divisor by_c, const float *x, const float *grad,
                                      const float *mean, const float *scale, const float *shift, const float *slope,
                                      const float *offset, float lo, float hi, float *dx) {
  EACH(n);
  by_lanes(lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    u32 ch;
    const u32 first = divide(i, by_c, &ch) * ROWS, from = ch * V;
    const Floats<V> middle = load<V>(mean + from), factor = load<V>(scale + from), summand = load<V>(shift + from);
    const Floats<V> a = load<V>(slope + from), b = load<V>(offset + from);
#pragma unroll
    for (u32 row = first; row < first + ROWS; ++row) {
      if (row >= rows) break;
      const u32 at = (row * by_c.d + ch) * V;
      const Floats<V> v = load<V>(x + at), d = load<V>(grad + at);
      Floats<V> out;
      for (u32 j = 0; j < V; ++j) {
        const float g = inside(fmaf(v.v[j], factor.v[j], summand.v[j]), lo, hi, d.v[j]);
        out.v[j] = factor.v[j] * (g - fmaf(v.v[j] - middle.v[j], a.v[j], b.v[j]));
      }
      store<V>(dx + at, out);
    }
  });
}
