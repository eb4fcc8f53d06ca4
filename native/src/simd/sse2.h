// What every x64 processor has; plain.h says what each name means.
#pragma once

#include <emmintrin.h>

#include <cstdint>

namespace movinet {
namespace {

constexpr int kLanes = 4;
constexpr int kTileRows = 2, kTileVectors = 4;
constexpr int kNeighbours = 6;

}  // namespace
}  // namespace movinet

#include "simd/vectors.h"

namespace movinet {
namespace {

MOVINET_INLINE Vector minimum(Vector a, Vector b) { return _mm_min_ps(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return _mm_max_ps(a, b); }

MOVINET_INLINE Vector load_int16(const int16_t* p) {
  const __m128i four = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(four, four), 16));
}

MOVINET_INLINE Integers load_int8_pairs(const int8_t* p) {
  const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return (Integers)_mm_srai_epi16(_mm_unpacklo_epi8(eight, eight), 8);
}

MOVINET_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
  return sum + (Integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
}

MOVINET_INLINE Integers round(Vector x) { return (Integers)_mm_cvtps_epi32(x); }

MOVINET_INLINE void store_int16(int16_t* p, Integers v) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32((__m128i)v, (__m128i)v));
}

}  // namespace
}  // namespace movinet

#include "simd/halves.h"
