// Preloaded before NVIDIA's driver: what each kernel of ours takes, by events around every launch, where neither ncu
// nor nsys is at hand. Products are timed as calls of cuBLAS, with all that it launches in them. Launches that are
// being recorded for a graph are let through untimed: run what is to be profiled without graphs.
//   cc -O2 -shared -fPIC -o profile.so profile.c -ldl;  LD_PRELOAD=./profile.so PROFILE=file bench --device cuda …
// An event is passed when the stream comes to it: where the stream has nothing else to do, what the host takes to launch
// what follows is in the time (a kernel of 2 to 5 us may read 5 to 10, an estimate). So launches are queued behind fills of
// memory that take a while; those after a wait of the host's in the middle of a step, or beyond what the fills cover, read too
// long all the same, and all by what two events take.
// PROFILE=file: a line for each name, longest first: milliseconds, launches, microseconds of a launch, name.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef void *H;
enum { NAMES = 512, WAITING = 1024 };
static struct { H function; char name[64]; double milliseconds; long launches; } names[NAMES];
static int known;
static struct { H begin, end; int name; } waiting[WAITING];
static int queued, made;
static H stream_of_products;
static void *next(const char *name) {
  void *f = dlsym(RTLD_NEXT, name);
  if (!f) { fprintf(stderr, "profile: no %s in what follows\n", name); exit(1); }
  return f;
}
// The function of that name behind this file, and its declarations: those of cuda.h and cublas_v2.h.
#define NEXT(f) static __typeof__(f) *next_; if (!next_) next_ = (__typeof__(f) *)next(#f)
int cuMemAlloc_v2(unsigned long long *, size_t), cuMemsetD8Async(unsigned long long, unsigned char, size_t, H);
int cuEventRecord(H, H), cuEventCreate(H *, unsigned), cuEventSynchronize(H), cuEventElapsedTime(float *, H, H), cuStreamIsCapturing(H, int *);
static int record(H event, H stream) { NEXT(cuEventRecord); return next_(event, stream); }
static int create(H *event) { NEXT(cuEventCreate); return next_(event, 0); }
static int wait_for(H event) { NEXT(cuEventSynchronize); return next_(event); }
static int elapsed(float *ms, H a, H b) { NEXT(cuEventElapsedTime); return next_(ms, a, b); }
static int captures(H stream) { NEXT(cuStreamIsCapturing); int status = 0; next_(stream, &status); return status; }
// Events are few: what is queued is waited for when they are used up, which the launches around do not feel.
static void settle(void) {
  for (int i = 0; i < queued; ++i) {
    float ms = 0;
    wait_for(waiting[i].end);
    if (elapsed(&ms, waiting[i].begin, waiting[i].end)) { fprintf(stderr, "profile: an event has no time\n"); continue; }
    names[waiting[i].name].milliseconds += ms; ++names[waiting[i].name].launches;
  }
  queued = 0;
}
static int name_of(H function, const char *name) {
  for (int i = 0; i < known; ++i) if (names[i].function == function) return i;
  if (known == NAMES) return NAMES - 1;
  names[known].function = function; snprintf(names[known].name, sizeof names[known].name, "%s", name);
  return known++;
}
// Something for the stream to do while launches are queued behind it, for milliseconds; of no use without its memory.
enum { MILLISECONDS = 8, MOST = 1000, BYTES = 256 << 20 };
static void fill(H stream, unsigned long long at) { NEXT(cuMemsetD8Async); next_(at, 0, BYTES, stream); }
static void occupy(H stream) {
  static unsigned long long at;
  static int fills = -1;
  if (fills < 0) {
    NEXT(cuMemAlloc_v2);
    H from = 0, to = 0;
    float ms = 0;
    fills = 0;
    if (next_(&at, BYTES) || create(&from) || create(&to)) return;
    fill(stream, at); // the first sets up what later ones find
    record(from, stream); fill(stream, at); record(to, stream); wait_for(to);
    if (elapsed(&ms, from, to) || ms <= 0) return;
    fills = MILLISECONDS / ms < MOST ? (int)(MILLISECONDS / ms) : MOST;
  }
  for (int i = 0; i < fills; ++i) fill(stream, at);
}
static int begin(int name, H stream) {
  if (captures(stream)) return -1;
  if (queued == WAITING) settle();
  if (queued == 0) occupy(stream);
  if (queued == made) { if (create(&waiting[made].begin) || create(&waiting[made].end)) return -1; ++made; }
  waiting[queued].name = name;
  return record(waiting[queued].begin, stream) ? -1 : queued;
}
static void end(int i, H stream) { if (i >= 0 && !record(waiting[i].end, stream)) queued = i + 1; }
int cuModuleGetFunction(H *f, H m, const char *name) {
  NEXT(cuModuleGetFunction);
  int e = next_(f, m, name);
  if (!e) name_of(*f, name);
  return e;
}
int cuLaunchKernel(H f, unsigned a, unsigned b, unsigned c, unsigned x, unsigned y, unsigned z, unsigned shared, H stream, void **p, void **extra) {
  NEXT(cuLaunchKernel);
  int i = begin(name_of(f, "unnamed"), stream), e = next_(f, a, b, c, x, y, z, shared, stream, p, extra);
  end(i, stream);
  return e;
}
int cublasSetStream_v2(H h, H stream) { NEXT(cublasSetStream_v2); stream_of_products = stream; return next_(h, stream); }
int cublasGemmStridedBatchedEx(H h, int ta, int tb, int m, int n, int k, const void *al, const void *A, int At, int lda, long long sa,
                               const void *B, int Bt, int ldb, long long sb, const void *be, void *C, int Ct, int ldc, long long sc,
                               int bs, int type, int algo) {
  NEXT(cublasGemmStridedBatchedEx);
  static char product; // an address that no kernel has
  int i = begin(name_of(&product, "products of cuBLAS"), stream_of_products);
  int e = next_(h, ta, tb, m, n, k, al, A, At, lda, sa, B, Bt, ldb, sb, be, C, Ct, ldc, sc, bs, type, algo);
  end(i, stream_of_products);
  return e;
}
int cublasLtMatmul(H h, H desc, const void *al, const void *A, H la, const void *B, H lb, const void *be, const void *C, H lc, void *D, H ld,
                   const void *algo, void *space, size_t bytes, H stream) {
  NEXT(cublasLtMatmul);
  static char product;
  int i = begin(name_of(&product, "products of cuBLASLt"), stream);
  int e = next_(h, desc, al, A, la, B, lb, be, C, lc, D, ld, algo, space, bytes, stream);
  end(i, stream);
  return e;
}
// cuDNN's convolutions, on the stream that its handle was given.
static H stream_of_convolutions;
int cudnnSetStream(H h, H stream) { NEXT(cudnnSetStream); stream_of_convolutions = stream; return next_(h, stream); }
#define CONVOLUTION(f, what)                                                                                                   \
  int f(H h, const void *al, H dx, const void *x, H dw, const void *w, H conv, int algo, void *space, size_t bytes,           \
        const void *be, H dy, void *y) {                                                                                      \
    NEXT(f);                                                                                                                  \
    static char own;                                                                                                          \
    int i = begin(name_of(&own, what), stream_of_convolutions);                                                               \
    int e = next_(h, al, dx, x, dw, w, conv, algo, space, bytes, be, dy, y);                                                  \
    end(i, stream_of_convolutions);                                                                                           \
    return e;                                                                                                                 \
  }
CONVOLUTION(cudnnConvolutionForward, "convolutions of cuDNN, forwards")
CONVOLUTION(cudnnConvolutionBackwardData, "convolutions of cuDNN, to what they read")
CONVOLUTION(cudnnConvolutionBackwardFilter, "convolutions of cuDNN, to weights")
static int longer(const void *a, const void *b) {
  double x = names[*(const int *)a].milliseconds, y = names[*(const int *)b].milliseconds;
  return x < y ? 1 : x > y ? -1 : 0;
}
// While the device is still there: a context is gone when destructors run, so at every result that is waited for.
static void report(void) {
  const char *path = getenv("PROFILE");
  if (!path) return;
  settle();
  FILE *f = fopen(path, "w");
  if (!f) { perror(path); return; }
  int order[NAMES]; double all = 0;
  for (int i = 0; i < known; ++i) { order[i] = i; all += names[i].milliseconds; }
  qsort(order, known, sizeof *order, longer);
  fprintf(f, "%10s %9s %9s %6s  kernel\n", "ms", "launches", "us each", "share");
  for (int i = 0; i < known; ++i) {
    int k = order[i];
    if (names[k].launches)
      fprintf(f, "%10.3f %9ld %9.2f %5.1f%%  %s\n", names[k].milliseconds, names[k].launches,
              1e3 * names[k].milliseconds / names[k].launches, 100 * names[k].milliseconds / (all > 0 ? all : 1), names[k].name);
  }
  fclose(f);
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t n, H stream) {
  NEXT(cuMemcpyDtoHAsync_v2);
  int e = next_(to, from, n, stream);
  if (!captures(stream)) report();
  return e;
}
