// No instruction by its name: what any processor and compiler can do, at whatever speed.
//
// This file also says what each name means; the others do the same with their instructions.
#pragma once

#include <cstdint>

namespace movinet {
namespace {

constexpr int kLanes = 4;  // divides a panel
// A tile of a product lives in registers: kTileRows places times kTileVectors vectors (even).
constexpr int kTileRows = 2, kTileVectors = 4;
// Outputs of a depthwise row at a time: so many sums are on their way, beside the weights of a row
// of the kernel.
constexpr int kNeighbours = 6;

}  // namespace
}  // namespace movinet

#include "simd/vectors.h"

namespace movinet {
namespace {

// Of operands that are no numbers, the second one (so does x64; others give NaN for either).
MOVINET_INLINE Vector minimum(Vector a, Vector b) { return a < b ? a : b; }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return a > b ? a : b; }

// 16-bit integers as floats.
MOVINET_INLINE Vector load_int16(const int16_t* p) {
  Vector v;
  for (int i = 0; i < kLanes; i++) v[i] = p[i];
  return v;
}

// Pairs of 8-bit integers as pairs of 16 bits, one pair a lane.
MOVINET_INLINE Integers load_int8_pairs(const int8_t* p) {
  int16_t wide[2 * kLanes];
  for (int i = 0; i < 2 * kLanes; i++) wide[i] = p[i];
  Integers v;
  __builtin_memcpy(&v, wide, sizeof v);
  return v;
}

// sum + the products of pairs of 16-bit integers, each pair added up.
MOVINET_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
  int16_t x[2 * kLanes], y[2 * kLanes];
  __builtin_memcpy(x, &a, sizeof x);
  __builtin_memcpy(y, &b, sizeof y);
  for (int i = 0; i < kLanes; i++) sum[i] += x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  return sum;
}

// The nearest integers; of halves, the even ones.
MOVINET_INLINE Integers round(Vector x) {
  const Vector shifted = x + splat(12582912.f);  // the integer is in the low bits
  Integers bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  return bits - splat(0x4b400000);
}

// The low 16 bits of each lane, or the nearest integer of 16 bits: callers stay within them.
MOVINET_INLINE void store_int16(int16_t* p, Integers v) {
  for (int i = 0; i < kLanes; i++) p[i] = static_cast<int16_t>(v[i]);
}

}  // namespace
}  // namespace movinet

// Floats of 16 bits in memory, load and store; greater ones than those can be become the greatest.
#include "simd/halves.h"

// Where an instruction multiplies bytes, a set defines MOVINET_QUADS, and with it
//   kLowestByte   the least number that a byte of `a` stands for: 0 or -128
//   add_quads     sum + the products of four 8-bit integers a lane, added up
//   store_bytes   each lane as a byte, from kLowestByte on; what is beyond becomes the nearest
