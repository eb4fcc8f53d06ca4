// AVX-512 (F, BW, VL and DQ), and with VNNI where it is compiled for that; plain.h says what each
// name means.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "half.h"

namespace movinet {
namespace {

constexpr int kLanes = 16;
constexpr int kTileRows = 12, kTileVectors = 2;  // 24 sums, 2 of b
constexpr int kNeighbours = 14;

}  // namespace
}  // namespace movinet

#include "simd/vectors.h"

namespace movinet {
namespace {

MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm512_max_ps(a, b); }

// Compilers take the detour over half vectors if one lets them.
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}

MOVINET_INLINE Integers load_int8_pairs(const int8_t* p) {
  return (Integers)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

MOVINET_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
#if defined(__AVX512VNNI__)
  return (Integers)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#else
  return sum + (Integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#endif
}

MOVINET_INLINE Integers round(Vector x) { return (Integers)_mm512_cvtps_epi32(x); }

MOVINET_INLINE void store_int16(int16_t* p, Integers v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16((__m512i)v));
}

MOVINET_INLINE Vector load(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

MOVINET_INLINE void store(uint16_t* p, Vector v) {
  v = minimum(splat(kMostHalf), maximum(splat(-kMostHalf), v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#if defined(__AVX512VNNI__)
#define MOVINET_QUADS
constexpr int kLowestByte = 0;

MOVINET_INLINE Integers add_quads(Integers sum, Integers a, Integers b) {
  return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}

MOVINET_INLINE void store_bytes(uint8_t* p, Integers v) {
  const __m512i positive = _mm512_max_epi32((__m512i)v, _mm512_setzero_si512());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(positive));
}
#endif

}  // namespace
}  // namespace movinet
