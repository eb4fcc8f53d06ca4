// The thin layer between the kernels and the instruction set: one vector of `kLanes` floats.
//
// The compilers' own vector types do most (+, *, and a multiply-add where the target has one, by
// -ffp-contract=fast); minimum, maximum, rounding, small numbers and their products need the names
// that each instruction set has for them.
#pragma once

#include <cstdint>

#include "half.h"

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
typedef int32_t Integers __attribute__((vector_size(kLanes * 4)));

MOVINET_INLINE Integers splat(int32_t x) { return x - Integers{}; }
MOVINET_INLINE Vector to_floats(Integers v) { return __builtin_convertvector(v, Vector); }
MOVINET_INLINE Vector splat(float x) { return x - Vector{}; }

// 16-bit integers as floats (compilers take the detour over half vectors if one lets them).
#if defined(__AVX512F__)
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm512_max_ps(a, b); }
#elif defined(__AVX2__)
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
#elif defined(__SSE2__)
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  const __m128i four = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(four, four), 16));
}
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm_max_ps(a, b); }
#elif defined(__ARM_NEON)
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  return vcvtq_f32_s32(vmovl_s16(vld1_s16(p)));
}
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return vminq_f32(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return vmaxq_f32(a, b); }
#else
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  Vector v;
  for (int i = 0; i < kLanes; i++) v[i] = p[i];
  return v;
}
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return a < b ? a : b; }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return a > b ? a : b; }
#endif

// Pairs of 8-bit integers as pairs of 16 bits, one pair a lane.
MOVINET_INLINE Integers load_int8_pairs(const int8_t* p) {
#if defined(__AVX512F__)
  return (Integers)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  return (Integers)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__SSE2__)
  const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return (Integers)_mm_srai_epi16(_mm_unpacklo_epi8(eight, eight), 8);
#elif defined(__ARM_NEON)
  return vreinterpretq_s32_s16(vmovl_s8(vld1_s8(p)));
#else
  int16_t wide[2 * kLanes];
  for (int i = 0; i < 2 * kLanes; i++) wide[i] = p[i];
  Integers v;
  __builtin_memcpy(&v, wide, sizeof v);
  return v;
#endif
}

// sum + the products of pairs of 16-bit integers, each pair added up.
MOVINET_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
#if defined(__AVX512VNNI__)
  return (Integers)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVX512F__)
  return sum + (Integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return sum + (Integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return sum + (Integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
#elif defined(__aarch64__)
  const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
  return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(x, y)));
#else
  for (int i = 0; i < kLanes; i++) {
    const int32_t x = a[i], y = b[i];
    sum[i] += static_cast<int16_t>(x) * static_cast<int16_t>(y) + (x >> 16) * (y >> 16);
  }
  return sum;
#endif
}

// sum + the products of four 8-bit integers a lane, added up. Those of `a` are at least kLowestByte.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__) || defined(__ARM_FEATURE_DOTPROD)
#define MOVINET_QUADS
#if defined(__ARM_FEATURE_DOTPROD)
constexpr int kLowestByte = -128;
#else
constexpr int kLowestByte = 0;
#endif
MOVINET_INLINE Integers add_quads(Integers sum, Integers a, Integers b) {
#if defined(__AVX512VNNI__)
  return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVXVNNI__)
  return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)a, (__m256i)b);
#else
  return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
#endif
}
#endif

// The nearest integers; of halves, the even ones.
MOVINET_INLINE Integers round(Vector x) {
#if defined(__AVX512F__)
  return (Integers)_mm512_cvtps_epi32(x);
#elif defined(__AVX2__)
  return (Integers)_mm256_cvtps_epi32(x);
#elif defined(__SSE2__)
  return (Integers)_mm_cvtps_epi32(x);
#elif defined(__aarch64__)
  return vcvtnq_s32_f32(x);
#else
  const Vector shifted = x + splat(12582912.f);  // the integer is in the low bits
  Integers bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  return bits - splat(0x4b400000);
#endif
}

// The low 16 bits of each lane.
MOVINET_INLINE void store_int16(int16_t* p, Integers v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16((__m512i)v));
#elif defined(__AVX2__)
  const __m128i low = _mm256_castsi256_si128((__m256i)v);
  const __m128i packed = _mm_packs_epi32(low, _mm256_extracti128_si256((__m256i)v, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
#elif defined(__SSE2__)
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32((__m128i)v, (__m128i)v));
#elif defined(__ARM_NEON)
  vst1_s16(p, vmovn_s32(v));
#else
  for (int i = 0; i < kLanes; i++) p[i] = static_cast<int16_t>(v[i]);
#endif
}

// Floats of 16 bits in memory; greater ones than those can be become the greatest.
MOVINET_INLINE Vector load(const uint16_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__aarch64__)
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
  Integers bits;
  for (int i = 0; i < kLanes; i++) bits[i] = p[i];
  // The exponent's bias is 112 less, also of those below the normal ones; all ones is no number.
  const Vector size = (Vector)((bits & 0x7fff) << 13) * splat(0x1p112f);
  const Integers none = ((bits & 0x7c00) == 0x7c00) & 0x7f800000;
  return (Vector)((Integers)size | none | ((bits << 16) & splat(INT32_MIN)));
#endif
}

MOVINET_INLINE void store(uint16_t* p, Vector v) {
  v = minimum(splat(kMostHalf), maximum(splat(-kMostHalf), v));
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v)));
#else
  const Integers bits = (Integers)v & 0x7fffffff;
  const Integers normal = (bits - (112 << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
  const Vector half = splat(0.5f);  // whose last bit is the last one of the smallest
  const Integers small = (Integers)((Vector)bits + half) - (Integers)half;
  const Integers is_small = bits < (113 << 23), none = v != v;
  const Integers size = (small & is_small) | (normal & ~is_small & ~none) | (none & 0x7e00);
  // As signed numbers, which is what store_int16 wants.
  store_int16(reinterpret_cast<int16_t*>(p), (size | ((Integers)v >> 16 & 0x8000)) << 16 >> 16);
#endif
}

#if defined(MOVINET_QUADS)
// Each lane as a byte, from kLowestByte on; what is beyond becomes the nearest.
MOVINET_INLINE void store_bytes(uint8_t* p, Integers v) {
#if defined(__AVX512F__)
  const __m512i positive = _mm512_max_epi32((__m512i)v, _mm512_setzero_si512());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(positive));
#elif defined(__AVX2__)
  const __m128i low = _mm256_castsi256_si128((__m256i)v);
  const __m128i words = _mm_packs_epi32(low, _mm256_extracti128_si256((__m256i)v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
#else
  const int16x4_t words = vqmovn_s32(v);
  const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
  vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
#endif
}
#endif

// What is no number stays none: of two operands, x64 takes the second one then.
MOVINET_INLINE Vector clamp(Vector x, float low, float high) {
  return minimum(splat(high), maximum(splat(low), x));
}

}  // namespace
}  // namespace movinet
