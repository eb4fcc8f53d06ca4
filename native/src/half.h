// Floats of 16 bits (IEEE 754 binary16), one at a time.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace movinet {

constexpr float kMostHalf = 65504;

static inline float from_half(uint16_t half) {
  const uint32_t sign = uint32_t{half} >> 15 << 31, exponent = half >> 10 & 31, rest = half & 1023;
  if (exponent == 0) {  // zero, or so small that the digits are fewer
    const float size = static_cast<float>(rest) * 0x1p-24f;
    return sign ? -size : size;
  }
  const uint32_t bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | rest << 13;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The nearest one; of two, the even one.
static inline uint16_t to_half(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float size = std::fabs(x);
  if (std::isnan(x)) return sign | 0x7e00;
  if (size >= 65520.f) return sign | 0x7c00;
  if (size < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(size * 0x1p24f));
  bits = (bits & 0x7fffffff) - (112u << 23);
  return static_cast<uint16_t>(sign | (bits + 0xfff + (bits >> 13 & 1)) >> 13);
}

}  // namespace movinet
