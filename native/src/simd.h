// The thin layer between the kernels and the instruction set: one vector of `kLanes` floats.
//
// The compilers' own vector types do almost everything (+, *, and a multiply-add where the target
// has one, by -ffp-contract=fast); only minimum and maximum need a name of each instruction set.
#pragma once

#if defined(__AVX2__) || defined(__AVX512F__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define MOVINET_INLINE [[gnu::always_inline]] inline

namespace movinet {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef float Unaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

MOVINET_INLINE Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
MOVINET_INLINE void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }
MOVINET_INLINE Vector splat(float x) { return x - Vector{}; }

#if defined(__AVX512F__)
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm512_max_ps(a, b); }
#elif defined(__AVX2__)
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
#elif defined(__SSE2__)
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm_max_ps(a, b); }
#elif defined(__ARM_NEON)
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return vminq_f32(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return vmaxq_f32(a, b); }
#else
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return a < b ? a : b; }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return a > b ? a : b; }
#endif

MOVINET_INLINE Vector clamp(Vector x, float low, float high) {
  return minimum(maximum(x, splat(low)), splat(high));
}

}  // namespace
}  // namespace movinet
