// Rounding to grids and its gradient; twin of executor/src/rounding.rs and parametrisation.rs. Rows are those of
// all tensors on grids, one scale each: row r begins at starts[r] and has lengths[r] latents; its largest
// integer is tops[r], the logarithm of its scale variables[logs + r].
#include "index.cuh"

// The scale that can be stored nearest to v: exponent and four bits of the fraction.
static __device__ float nearest(float v) {
  int code = -1024;
  if (v > 0.f) {
    u32 bits;
    v = fminf(v, 1.7e38f);
    memcpy(&bits, &v, 4);
    code = (int)((bits + (1u << 18)) >> 19) - (127 << 4);
    code = code < -1024 ? -1024 : code > 1023 ? 1023 : code;
  }
  const u32 bits = (u32)(code + (127 << 4)) << 19;
  memcpy(&v, &bits, 4);
  return v;
}

// What is no number stays so: fminf and fmaxf would give a bound.
static __device__ float integer(float u, float top) { return clamped(rintf(u * top), -top, top); }

// What the network computes with, into `parameters`, which hold the variables already. 32 threads a block
// share a row: grid.x = rows.
extern "C" __global__ void round_rows(u32 rows, const u64 *starts, const u32 *lengths, const float *tops, u64 logs,
                                      const float *variables, float *parameters) {
  const u32 r = blockIdx.x;
  if (r >= rows) return;
  const float s = nearest((float)exp2((double)variables[logs + r])), top = tops[r];
  for (u32 k = threadIdx.x; k < lengths[r]; k += blockDim.x)
    parameters[starts[r] + k] = s * integer(variables[starts[r] + k], top);
}

// Gradients of the latents, in place, and of the logarithms. One thread per row.
extern "C" __global__ void grid_gradients(u32 rows, const u64 *starts, const u32 *lengths, const float *tops,
                                          u64 logs, const float *variables, float *grad) {
  const u32 r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  const float ln2 = 0.693147180559945f, s = nearest((float)exp2((double)variables[logs + r])), top = tops[r];
  double sum = 0.;
  for (u32 k = 0; k < lengths[r]; ++k) {
    const float u = variables[starts[r] + k], v = u * top;
    float *g = grad + starts[r] + k;
    sum += (double)(*g * integer(u, top));
    *g = fabsf(v) <= top ? *g * s * top : 0.f;
  }
  grad[logs + r] = (float)(sum * (double)s) * ln2;
}
