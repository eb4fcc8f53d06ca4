// Activations, of registers and of what was stored.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include MOVINET_SIMD  // vectors of an instruction set: simd/avx2.h, for example

namespace movinet {
namespace {

// What is no number stays none: of two operands, x64 takes the second one then.
MOVINET_INLINE Vector clamp(Vector x, float low, float high) {
  return minimum(splat(high), maximum(splat(low), x));
}

MOVINET_INLINE Vector hard_swish(Vector x) { return x * clamp(x * (1 / 6.f) + 0.5f, 0, 1); }

template <Activation kActivation>
MOVINET_INLINE Vector activate(Vector x) {
  if constexpr (kActivation == Activation::relu6) return clamp(x, 0, 6);
  if constexpr (kActivation == Activation::hard_swish) return hard_swish(x);
  // The reference multiplies by 0.16667, not by 1/6.
  if constexpr (kActivation == Activation::hard_sigmoid) return clamp(x + 3.f, 0, 6) * 0.16667f;
  return x;
}

// e^x to 1e-7 of it, written so that compilers make vectors of a loop over it.
MOVINET_INLINE float exponential(float x) {
  x = std::min(std::max(x, -87.f), 88.f);
  const float shifted = x * 1.44269504f + 12582912.f;  // rounded; the integer is in the low bits
  const float n = shifted - 12582912.f;
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1 / 5040.f;
  p = p * r + 1 / 720.f;
  p = p * r + 1 / 120.f;
  p = p * r + 1 / 24.f;
  p = p * r + 1 / 6.f;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

void sigmoid_panel(float* values, bool times_x) {
  for (int i = 0; i < kPanel; i++) {
    const float x = values[i], y = 1 / (1 + exponential(-x));
    values[i] = times_x ? x * y : y;
  }
}

// Those of the published networks are applied to registers, the others to what was stored.
MOVINET_INLINE bool comes_later(Activation a) {
  return a != Activation::none && a != Activation::hard_swish;
}

template <class F>
MOVINET_INLINE void with_activation(Activation activation, F&& body) {
  if (activation == Activation::hard_swish)
    return body.template operator()<Activation::hard_swish>();
  body.template operator()<Activation::none>();
}

template <Activation kActivation>
void activate_rows(float* values, size_t rows) {
  for (size_t i = 0; i < rows * kPanel; i += kLanes)
    store(values + i, activate<kActivation>(load(values + i)));
}

void finish(Activation activation, float* out, size_t rows) {
  if (activation == Activation::relu6) activate_rows<Activation::relu6>(out, rows);
  if (activation == Activation::hard_sigmoid) activate_rows<Activation::hard_sigmoid>(out, rows);
  if (activation == Activation::swish || activation == Activation::sigmoid)
    for (size_t r = 0; r < rows; r++)
      sigmoid_panel(out + r * kPanel, activation == Activation::swish);
}

}  // namespace
}  // namespace movinet
