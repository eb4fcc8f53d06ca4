// AVX2 with FMA and F16C, and with AVX-VNNI where it is compiled for that; plain.h says what each
// name means.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "half.h"

namespace movinet {
namespace {

constexpr int kLanes = 8;
constexpr int kTileRows = 6, kTileVectors = 2;  // 12 sums, 2 of b, 1 of a
constexpr int kNeighbours = 6;

}  // namespace
}  // namespace movinet

#include "simd/vectors.h"

namespace movinet {
namespace {

MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }

// Compilers take the detour over half vectors if one lets them.
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

MOVINET_INLINE Integers load_int8_pairs(const int8_t* p) {
  return (Integers)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

MOVINET_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
  return sum + (Integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}

MOVINET_INLINE Integers round(Vector x) { return (Integers)_mm256_cvtps_epi32(x); }

MOVINET_INLINE __m128i pack(Integers v) {
  const __m128i low = _mm256_castsi256_si128((__m256i)v);
  return _mm_packs_epi32(low, _mm256_extracti128_si256((__m256i)v, 1));
}

MOVINET_INLINE void store_int16(int16_t* p, Integers v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), pack(v));
}

MOVINET_INLINE Vector load(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

MOVINET_INLINE void store(uint16_t* p, Vector v) {
  v = minimum(splat(kMostHalf), maximum(splat(-kMostHalf), v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#if defined(__AVXVNNI__)
#define MOVINET_QUADS
constexpr int kLowestByte = 0;

MOVINET_INLINE Integers add_quads(Integers sum, Integers a, Integers b) {
  return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)a, (__m256i)b);
}

MOVINET_INLINE void store_bytes(uint8_t* p, Integers v) {
  const __m128i words = pack(v);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
#endif

}  // namespace
}  // namespace movinet
