// How fast a core can multiply and add; compiled once for each instruction set, as the kernels are.
#include <cstdint>

#include MOVINET_SIMD

#define MOVINET_JOIN(prefix, name) prefix##name
#define MOVINET_SPIN(name) MOVINET_JOIN(spin_, name)

namespace movinet {

// Does at least this many multiply-adds in registers alone, as fast as the core can; returns how
// many. Benchmarks measure the rest against it.
int64_t MOVINET_SPIN(MOVINET_ISA)(int64_t multiply_adds) {
  constexpr int kSums = 12;
  Vector sums[kSums], x = splat(1e-3f), w = splat(1e-3f);
  for (int i = 0; i < kSums; i++) sums[i] = splat(static_cast<float>(i));  // none like another
  int64_t done = 0;
  for (; done < multiply_adds; done += kSums * kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; i++) sums[i] += x * w;
#if defined(__AVX2__)
    asm volatile("" : "+v"(x));  // the compiler may not take the product out of the loop
#else
    asm volatile("" : "+m"(x));
#endif
  }
  for (int i = 1; i < kSums; i++) sums[0] += sums[i];
  volatile float kept = sums[0][0];
  (void)kept;
  return done;
}

}  // namespace movinet
