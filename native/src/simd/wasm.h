// WebAssembly with vectors of 128 bits, and with its relaxed ones where it is compiled for them;
// plain.h says what each name means.
#pragma once

#include <wasm_simd128.h>

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

// Of operands that are no numbers, these give the first one: so they are exchanged.
MOVINET_INLINE Vector minimum(Vector a, Vector b) {
  return (Vector)wasm_f32x4_pmin((v128_t)b, (v128_t)a);
}
MOVINET_INLINE Vector maximum(Vector a, Vector b) {
  return (Vector)wasm_f32x4_pmax((v128_t)b, (v128_t)a);
}

MOVINET_INLINE Vector load_int16(const int16_t* p) {
  return (Vector)wasm_f32x4_convert_i32x4(wasm_i32x4_load16x4(p));
}

MOVINET_INLINE Integers load_int8_pairs(const int8_t* p) {
  return (Integers)wasm_i16x8_load8x8(p);
}

MOVINET_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
  return sum + (Integers)wasm_i32x4_dot_i16x8((v128_t)a, (v128_t)b);
}

MOVINET_INLINE Integers round(Vector x) {
  const Vector shifted = x + splat(12582912.f);  // the integer is in the low bits
  return (Integers)shifted - splat(0x4b400000);
}

MOVINET_INLINE void store_int16(int16_t* p, Integers v) {
  wasm_v128_store64_lane(p, wasm_i16x8_narrow_i32x4((v128_t)v, (v128_t)v), 0);
}

}  // namespace
}  // namespace movinet

#include "simd/halves.h"
