// Sums over rows in an order that shapes alone decide. A block of 256 threads adds up a chunk of rows: `1 << log`
// neighbouring threads have neighbouring columns, V channels each, the others further rows. Their sums go down a tree,
// within a warp by shuffles, over the warps through shared memory. What blocks leave, `combined` adds up in f64. No
// atomics: the same rows give the same bits.
#pragma once
#include "fours.cuh"
#include "slide.cuh"

#define THREADS 256
#define WARPS (THREADS / 32)

// How rows are cut; made by `Cut` in sums.rs.
struct Cut {
  u32 rows, chunk, c; // chunk: rows of a block
  u32 log, lanes;     // columns of a block: 1 << log, of `lanes` channels each
};

// First channel of this thread; c or more: it only helps in the tree.
static __device__ inline u32 column(const Cut &cut) {
  return ((blockIdx.x << cut.log) + (threadIdx.x & ((1u << cut.log) - 1))) * cut.lanes;
}

// Floats of shared memory that a tree of M values takes. A kernel declares them once for all its variants: what each of
// them declared would be added up, though only one runs.
#define TREE(M) (WARPS * (M) * 128)

// Adds up sum[m][·] of all threads of one column, and gives the results to `out(m, channel, value)`, channels of the
// block's columns, once each. All threads of the block must come here. M · V ≤ 8; room for TREE(M) floats.
template <u32 V, u32 M, class Out>
static __device__ void column_tree(const Cut &cut, float (&sum)[M][V], float *room, Out out) {
  float(*warps)[M][32 * V] = (float(*)[M][32 * V])room;
  const u32 lane = threadIdx.x % 32, wide = (1u << cut.log) * V;
#pragma unroll
  for (u32 m = 0; m < M; ++m)
#pragma unroll
    for (u32 j = 0; j < V; ++j)
      for (u32 step = 16; step >> cut.log; step /= 2) sum[m][j] += __shfl_xor_sync(WHOLE_WARP, sum[m][j], step);
  __syncthreads(); // of what an earlier tree left nobody is still reading
  if (lane >> cut.log == 0)
    for (u32 m = 0; m < M; ++m)
      for (u32 j = 0; j < V; ++j) warps[threadIdx.x / 32][m][lane * V + j] = sum[m][j];
  __syncthreads();
  // At most M · 32 · V values, one for each thread.
  const u32 m = threadIdx.x / wide, at = threadIdx.x % wide, ch = blockIdx.x * wide + at;
  if (m >= M || ch >= cut.c) return;
  float all = 0.f;
#pragma unroll
  for (u32 w = 0; w < WARPS; ++w) all += warps[w][m][at];
  out(m, ch, all);
}

// Sums of chunk blockIdx.y: term(row, channel, sum) adds that of a row to sum[m][j].
template <u32 V, u32 M, class Term, class Out>
static __device__ inline void column_sums(const Cut &cut, float *room, Term term, Out out) {
  const u32 ch = column(cut), start = blockIdx.y * cut.chunk;
  const u32 end = start + cut.chunk < cut.rows ? start + cut.chunk : cut.rows;
  float sum[M][V] = {};
  if (ch < cut.c) {
#pragma unroll 4
    for (u32 row = start + (threadIdx.x >> cut.log); row < end; row += THREADS >> cut.log) term(row, ch, sum);
  }
  column_tree<V, M>(cut, sum, room, out);
}

// Σ over `parts` of M values each, for 8 results a block, result i = blockIdx.x · 8 + threadIdx.x % 8: 32 threads take
// parts in turns, then a tree in f64. term(part, i, sum) adds to sum[m]; out(i, sum) has them all, in one thread of
// each result. No division in f64, of which a GPU for games makes two a clock.
template <u32 M, class Term, class Out> static __device__ inline void combined(u32 n, u32 parts, Term term, Out out) {
  __shared__ double warps[WARPS][M][8];
  const u32 i = blockIdx.x * 8 + threadIdx.x % 8;
  double sum[M] = {};
  if (i < n)
    for (u32 part = threadIdx.x / 8; part < parts; part += THREADS / 8) term(part, i, sum);
#pragma unroll
  for (u32 m = 0; m < M; ++m) {
    for (u32 step = 16; step >= 8; step /= 2) sum[m] += __shfl_xor_sync(WHOLE_WARP, sum[m], step);
    if (threadIdx.x % 32 < 8) warps[threadIdx.x / 32][m][threadIdx.x % 8] = sum[m];
  }
  __syncthreads();
  if (threadIdx.x >= 8 || i >= n) return;
#pragma unroll
  for (u32 m = 0; m < M; ++m) {
    sum[m] = 0.;
    for (u32 w = 0; w < WARPS; ++w) sum[m] += warps[w][m][threadIdx.x];
  }
  out(i, sum);
}
