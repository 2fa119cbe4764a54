// (1 − α) · CE(labels) + α · T² · KL(teacher / T ‖ logits / T), averaged over the batch. A warp, which is a block, per
// picture, its threads taking classes in turns; sums over classes in f64, down a tree.
#include "index.cuh"

// log Σ exp((row − largest) / t), and the largest, in every thread.
static __device__ double log_sum(const float *row, u32 n, double t, float *largest) {
  float most = row[0];
  for (u32 c = threadIdx.x; c < n; c += 32) most = row[c] > most ? row[c] : most;
  for (u32 step = 16; step; step /= 2) {
    const float other = __shfl_xor_sync(WHOLE_WARP, most, step);
    most = other > most ? other : most;
  }
  double sum = 0.;
  for (u32 c = threadIdx.x; c < n; c += 32) sum += exp((double)(row[c] - most) / t);
  *largest = most;
  return log(warp_sum(sum));
}

// teacher may be null. losses [b], grad [b, classes]; grid.x = b.
extern "C" __global__ void loss(u32 b, u32 classes, const float *logits, const float *labels, const float *teacher,
                                double alpha, double t, double *losses, float *grad) {
  const u32 i = blockIdx.x;
  const float *row = logits + i * classes, *label = labels + i * classes;
  const bool taught = teacher && alpha > 0.;
  float most, most_wanted = 0.f;
  const double plain = log_sum(row, classes, 1., &most);
  double soft = 0., hard = 0., labelled = 0., total = 0.;
  if (taught) soft = log_sum(row, classes, t, &most), hard = log_sum(teacher + i * classes, classes, t, &most_wanted);
  for (u32 c = threadIdx.x; c < classes; c += 32) labelled += label[c];
  labelled = warp_sum(labelled);
  for (u32 c = threadIdx.x; c < classes; c += 32) {
    const double p = (double)(row[c] - most) - plain;
    total -= (1. - alpha) * label[c] * p;
    float g = (float)((1. - alpha) * (labelled * exp(p) - label[c]) / b);
    if (taught) {
      const double q = (double)(row[c] - most) / t - soft;
      const double w = (double)(teacher[i * classes + c] - most_wanted) / t - hard;
      total += alpha * t * t * exp(w) * (w - q);
      g += (float)(alpha * t * (exp(q) - exp(w)) / b);
    }
    grad[i * classes + c] = g;
  }
  total = warp_sum(total);
  if (threadIdx.x == 0) losses[i] = total / b;
}

// sums[1] = Σ losses, and sums[0] more by it; a warp.
extern "C" __global__ void loss_sum(u32 b, const double *losses, double *sums) {
  double sum = 0.;
  for (u32 i = threadIdx.x; i < b; i += 32) sum += losses[i];
  sum = warp_sum(sum);
  if (threadIdx.x) return;
  sums[0] += sum;
  sums[1] = sum;
}
