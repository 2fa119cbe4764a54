// (1 − α) · CE(labels) + α · T² · KL(teacher / T ‖ logits / T), averaged over the batch. One thread per
// picture; sums over classes in f64.
#include "index.cuh"

// log Σ exp((row − largest) / t), and the largest.
static __device__ double log_sum(const float *row, u32 n, double t, float *largest) {
  float most = row[0];
  for (u32 c = 1; c < n; ++c) most = row[c] > most ? row[c] : most;
  double sum = 0.;
  for (u32 c = 0; c < n; ++c) sum += exp((double)(row[c] - most) / t);
  *largest = most;
  return log(sum);
}

// teacher may be null. losses [b], grad [b, classes].
extern "C" __global__ void loss(u32 b, u32 classes, const float *logits, const float *labels, const float *teacher,
                                double alpha, double t, double *losses, float *grad) {
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= b) return;
  const float *row = logits + (u64)i * classes, *label = labels + (u64)i * classes;
  float *g = grad + (u64)i * classes;
  float most;
  const double plain = log_sum(row, classes, 1., &most);
  double labelled = 0., total = 0.;
  for (u32 c = 0; c < classes; ++c) labelled += label[c];
  for (u32 c = 0; c < classes; ++c) {
    const double p = (double)(row[c] - most) - plain;
    total -= (1. - alpha) * label[c] * p;
    g[c] = (float)((1. - alpha) * (labelled * exp(p) - label[c]) / b);
  }
  if (teacher && alpha > 0.) {
    const float *wanted = teacher + (u64)i * classes;
    float most_wanted;
    const double soft = log_sum(row, classes, t, &most), hard = log_sum(wanted, classes, t, &most_wanted);
    for (u32 c = 0; c < classes; ++c) {
      const double q = (double)(row[c] - most) / t - soft, w = (double)(wanted[c] - most_wanted) / t - hard;
      total += alpha * t * t * exp(w) * (w - q);
      g[c] += (float)(alpha * t * (exp(q) - exp(w)) / b);
    }
  }
  losses[i] = total / b;
}
