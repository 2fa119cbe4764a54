// Preloaded before the stand-in driver, whose kernels were compiled with -fsanitize=thread: what a launch
// touches in the device's memory. The compiler calls a function at every access of memory; here these are
// counted, each 32 bytes of the device once per launch, which is what a GPU's memory moves at least if its
// caches keep all that a launch reads twice. No table of kernels has to be kept true by hand.
// Products of matrices are not computed, only counted: what follows works on zeros.
// EMU_COUNTS=file: a line for each launch, product and transfer, in their order:
//   kind  name  threads  bytes read  bytes written  accesses  bytes accessed  operations
#include "emu.h"
#include <dlfcn.h>
#include <sys/mman.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <type_traits>
typedef uint64_t P; typedef void *H;
// All memory of the device: one range, so that an access is told by a subtraction.
static const uint64_t SIZE = (uint64_t)32 << 30, SECTOR = 32;
static char *reserve(uint64_t n) {
  void *m = mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (m == MAP_FAILED) { fprintf(stderr, "counts: no room for %lu bytes\n", (unsigned long)n); abort(); }
  return (char *)m;
}
static char *base = reserve(SIZE); static uint64_t used;
// The launch that touched a sector last.
static uint32_t *last_read = (uint32_t *)reserve(SIZE / SECTOR * 4), *last_write = (uint32_t *)reserve(SIZE / SECTOR * 4);
static uint32_t launch; static uint64_t sectors_read, sectors_written, accesses, accessed;
static FILE *out() {
  static FILE *f = [] { const char *n = getenv("EMU_COUNTS"); return n ? fopen(n, "w") : nullptr; }();
  if (!f) { fprintf(stderr, "counts: EMU_COUNTS must name a file\n"); abort(); }
  return f;
}
static void line(const char *kind, const char *name, uint64_t threads, uint64_t r, uint64_t w, uint64_t n, uint64_t bytes, double flop) {
  fprintf(out(), "%s\t%s\t%lu\t%lu\t%lu\t%lu\t%lu\t%.0f\n", kind, name, (unsigned long)threads, (unsigned long)r, (unsigned long)w,
          (unsigned long)n, (unsigned long)bytes, flop);
  fflush(out());
}
// Where the last access ended. What goes on there, within 16 bytes, is the same access: the compiler of a GPU loads four
// floats at once where this one loads them one by one.
static uint64_t ended; static uint32_t *kind;
static inline void touch(const void *p, unsigned n, uint32_t *last, uint64_t &sectors) {
  const uint64_t at = (uint64_t)((const char *)p - base);
  if (at >= SIZE) return;  // a thread's own, or a block's shared memory
  if (at != ended || last != kind || at % 16 == 0) ++accesses;
  ended = at + n; kind = last;
  accessed += n;
  uint32_t &l = last[at / SECTOR];
  if (l != launch) { l = launch; ++sectors; }
}
#define TOUCH(N)                                                                              \
  void __tsan_read##N(void *p) { touch(p, N, last_read, sectors_read); }                      \
  void __tsan_write##N(void *p) { touch(p, N, last_write, sectors_written); }                 \
  void __tsan_unaligned_read##N(void *p) { touch(p, N, last_read, sectors_read); }            \
  void __tsan_unaligned_write##N(void *p) { touch(p, N, last_write, sectors_written); }
// In the order of a stream, so that a graph counts at every replay what it was recorded of; at once where the driver
// has no queues.
extern "C" int emu_enqueue(void *stream, const std::function<void()> &work) __attribute__((weak));
static int queued(H stream, const std::function<void()> &work) { if (emu_enqueue) return emu_enqueue(stream, work); work(); return 0; }
// `launch` as what counts; a driver with queues binds arguments first and runs later.
template <class L> static L counted(L inner, std::string name) {
  return [=](unsigned a, unsigned b, unsigned c, unsigned x, unsigned y, unsigned z, void **p) {
    auto around = [=](auto run) {
      ++launch; sectors_read = sectors_written = accesses = accessed = 0;
      run();
      line("kernel", name.c_str(), (uint64_t)a * b * c * x * y * z, sectors_read * SECTOR, sectors_written * SECTOR, accesses, accessed, 0);
    };
    if constexpr (std::is_void_v<typename L::result_type>) around([&] { inner(a, b, c, x, y, z, p); });
    else { auto bound = inner(a, b, c, x, y, z, p); return typename L::result_type([=] { around(bound); }); }
  };
}
template <class F> static F next(F, const char *name) {
  void *f = dlsym(RTLD_NEXT, name);
  if (!f) { fprintf(stderr, "counts: the driver has no %s\n", name); abort(); }
  return (F)f;
}
extern "C" {
TOUCH(1) TOUCH(2) TOUCH(4) TOUCH(8) TOUCH(16)
void __tsan_read_range(void *p, size_t n) { for (size_t i = 0; i < n; i += 4) touch((char *)p + i, 4, last_read, sectors_read); }
void __tsan_write_range(void *p, size_t n) { for (size_t i = 0; i < n; i += 4) touch((char *)p + i, 4, last_write, sectors_written); }
void __tsan_init() {} void __tsan_func_entry(void *) {} void __tsan_func_exit() {} void __tsan_vptr_update(void **, void *) {} void __tsan_vptr_read(void **) {}
unsigned char __tsan_atomic8_load(const volatile unsigned char *p, int) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }  // of what is made at first use

int cuMemAlloc_v2(P *p, size_t n) { if (!n || used + n > SIZE) return 2; *p = (P)(base + used); used += (n + 255) / 256 * 256; return 0; }
int cuMemAllocAsync(P *p, size_t n, H) { return cuMemAlloc_v2(p, n); }
int cuMemFree_v2(P) { return 0; }
int cuMemFreeAsync(P, H) { return 0; }
int cuMemcpyHtoDAsync_v2(P d, const void *s, size_t n, H h) { line("up", "upload", 0, 0, n, 0, 0, 0); return next(&cuMemcpyHtoDAsync_v2, __func__)(d, s, n, h); }
int cuMemcpyDtoHAsync_v2(void *d, P s, size_t n, H h) { line("down", "download", 0, n, 0, 0, 0, 0); return next(&cuMemcpyDtoHAsync_v2, __func__)(d, s, n, h); }
int cuMemcpyDtoDAsync_v2(P d, P s, size_t n, H h) { queued(h, [=] { line("copy", "copy", 0, n, n, 0, 0, 0); }); return next(&cuMemcpyDtoDAsync_v2, __func__)(d, s, n, h); }
int cuMemsetD8Async(P d, unsigned char v, size_t n, H h) { queued(h, [=] { line("copy", "set", 0, 0, n, 0, 0, 0); }); return next(&cuMemsetD8Async, __func__)(d, v, n, h); }
int cuGraphLaunch(H g, H stream) { line("graph", "graph", 0, 0, 0, 0, 0, 0); return next(&cuGraphLaunch, __func__)(g, stream); }
// The stand-in's functions are what it runs; each is put into one that counts.
int cuModuleGetFunction(H *f, H m, const char *name) {
  static std::set<H> known;
  if (int e = next(&cuModuleGetFunction, __func__)(f, m, name)) return e;
  if (known.insert(*f).second) *(Launch *)*f = counted(*(Launch *)*f, name);
  return 0;
}
static std::map<H, H> streams;  // of cuBLAS's handles
int cublasSetStream_v2(H h, H stream) { streams[h] = stream; return next(&cublasSetStream_v2, __func__)(h, stream); }
int cublasGemmStridedBatchedEx(H h, int, int, int m, int n, int k, const void *, const void *, int, int, long, const void *, int, int, long, const void *be, void *, int, int, long, int bs, int, int) {
  const uint64_t M = m, N = n, K = k, B = bs, more = *(const float *)be != 0 ? M * N : 0;
  return queued(streams[h], [=] { line("product", "product", 0, 4 * B * (M * K + K * N + more), 4 * B * M * N, 0, 0, 2. * B * M * N * K); });
}
// cuBLASLt's: what matrices are like is said beforehand.
struct Layout { uint64_t rows, columns, bytes; };
static std::map<H, Layout> layouts;
int cublasLtMatrixLayoutCreate(H *l, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  const int e = next(&cublasLtMatrixLayoutCreate, __func__)(l, type, rows, columns, ld);
  if (!e) layouts[*l] = {rows, columns, type == 0 ? 4u : 2u};  // CUDA_R_32F; the others that are used have 16 bits
  return e;
}
int cublasLtMatmul(H, H, const void *, const void *, H a, const void *, H b, const void *beta, const void *, H, void *, H d, const void *, void *, size_t, H stream) {
  const Layout A = layouts.at(a), B = layouts.at(b), D = layouts.at(d);
  const uint64_t factors = A.rows * A.columns * A.bytes + B.rows * B.columns * B.bytes, sums = D.rows * D.columns * D.bytes;
  const uint64_t depth = A.rows * A.columns / D.rows, more = *(const float *)beta != 0 ? sums : 0;
  const char *name = A.bytes == 4 ? "product" : "product of 16 bits";
  return queued(stream, [=] { line("product", name, 0, factors + more, sums, 0, 0, 2. * D.rows * D.columns * depth); });
}
}
