// Floats of 16 bits for sets without instructions for them; included after the set's own functions.
#pragma once

#include "half.h"

namespace movinet {
namespace {

MOVINET_INLINE Vector load(const uint16_t* p) {
  Integers bits;
  for (int i = 0; i < kLanes; i++) bits[i] = p[i];
  // The exponent's bias is 112 less, also of those below the normal ones; all ones is no number.
  const Vector size = (Vector)((bits & 0x7fff) << 13) * splat(0x1p112f);
  const Integers none = ((bits & 0x7c00) == 0x7c00) & 0x7f800000;
  return (Vector)((Integers)size | none | ((bits << 16) & splat(INT32_MIN)));
}

MOVINET_INLINE void store(uint16_t* p, Vector v) {
  v = minimum(splat(kMostHalf), maximum(splat(-kMostHalf), v));
  const Integers bits = (Integers)v & 0x7fffffff;
  const Integers normal = (bits - (112 << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
  const Vector half = splat(0.5f);  // whose last bit is the last one of the smallest
  const Integers small = (Integers)((Vector)bits + half) - (Integers)half;
  const Integers is_small = bits < (113 << 23), none = v != v;
  const Integers size = (small & is_small) | (normal & ~is_small & ~none) | (none & 0x7e00);
  // As signed numbers, which is what store_int16 wants.
  store_int16(reinterpret_cast<int16_t*>(p), (size | ((Integers)v >> 16 & 0x8000)) << 16 >> 16);
}

}  // namespace
}  // namespace movinet
