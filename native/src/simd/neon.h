// What every 64-bit Arm processor has, and with its products of bytes where it is compiled for
// them; plain.h says what each name means.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "half.h"

namespace movinet {
namespace {

constexpr int kLanes = 4;
constexpr int kTileRows = 6, kTileVectors = 4;  // 24 sums, 4 of b, 1 of a
constexpr int kNeighbours = 14;

}  // namespace
}  // namespace movinet

#include "simd/vectors.h"

namespace movinet {
namespace {

MOVINET_INLINE Vector minimum(Vector a, Vector b) { return vminq_f32(a, b); }
MOVINET_INLINE Vector maximum(Vector a, Vector b) { return vmaxq_f32(a, b); }

MOVINET_INLINE Vector load_int16(const int16_t* p) {
  return vcvtq_f32_s32(vmovl_s16(vld1_s16(p)));
}

MOVINET_INLINE Integers load_int8_pairs(const int8_t* p) {
  return vreinterpretq_s32_s16(vmovl_s8(vld1_s8(p)));
}

MOVINET_INLINE Integers add_products(Integers sum, Integers a, Integers b) {
  const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
  return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(x, y)));
}

MOVINET_INLINE Integers round(Vector x) { return vcvtnq_s32_f32(x); }

MOVINET_INLINE void store_int16(int16_t* p, Integers v) { vst1_s16(p, vmovn_s32(v)); }

MOVINET_INLINE Vector load(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

MOVINET_INLINE void store(uint16_t* p, Vector v) {
  v = minimum(splat(kMostHalf), maximum(splat(-kMostHalf), v));
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}

#if defined(__ARM_FEATURE_DOTPROD)
#define MOVINET_QUADS
constexpr int kLowestByte = -128;

MOVINET_INLINE Integers add_quads(Integers sum, Integers a, Integers b) {
  return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
}

MOVINET_INLINE void store_bytes(uint8_t* p, Integers v) {
  const int16x4_t words = vqmovn_s32(v);
  const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
  vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
}
#endif

}  // namespace
}  // namespace movinet
