// The kernels, written once; compiled once for each instruction set: MOVINET_ISA is its name, and
// MOVINET_SIMD its file in simd/.
#include "kernels.h"

#include <algorithm>

#include "filters.h"
#include "integers.h"
#include "products.h"

namespace movinet {
namespace {

void bytes_to_floats(const uint8_t* in, float* out, size_t count) {
  for (size_t i = 0; i < count; i++) out[i] = in[i] * (1 / 255.f);
}

void scale_columns(const float* in, const float* scale, float* out, size_t rows) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const Vector s = load(scale + lane);
    for (size_t r = 0; r < rows; r++)
      store(out + r * kPanel + lane, load(in + r * kPanel + lane) * s);
  }
}

void scale_rows(const float* b, const float* scale, float* out, int inputs, size_t count) {
  for (size_t panel = 0; panel < count; panel++)
    for (int k = 0; k < inputs; k++, b += kPanel, out += kPanel) {
      const Vector s = splat(scale[k]);
      for (int lane = 0; lane < kPanel; lane += kLanes) store(out + lane, load(b + lane) * s);
    }
}

void range(const float* in, float* least, float* greatest, size_t rows) {
  constexpr int kAtOnce = 4;
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    Vector low[kAtOnce], high[kAtOnce], none[kAtOnce] = {};  // NaN where an x is no finite number
    for (int n = 0; n < kAtOnce; n++) low[n] = high[n] = load(in + lane);
    const auto see = [&](int n, size_t r) {
      const Vector x = load(in + r * kPanel + lane);
      low[n] = minimum(low[n], x);
      high[n] = maximum(high[n], x);
      none[n] += x * splat(0.f);
    };
    size_t r = 0;
    for (; r + kAtOnce <= rows; r += kAtOnce)
#pragma GCC unroll 4
      for (int n = 0; n < kAtOnce; n++) see(n, r + n);
    for (; r < rows; r++) see(0, r);
    for (int n = 1; n < kAtOnce; n++) {
      low[0] = minimum(low[0], low[n]);
      high[0] = maximum(high[0], high[n]);
      none[0] += none[n];
    }
    store(least + lane, minimum(low[0], load(least + lane)) + none[0]);
    store(greatest + lane, maximum(high[0], load(greatest + lane)) + none[0]);
  }
}

void quantize(const float* in, const float* scale, int16_t* out, size_t rows) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const Vector s = load(scale + lane);
    for (size_t at = lane; at < rows * kPanel; at += kPanel)
      store_int16(out + at, round(load(in + at) * s));
  }
}

#if defined(MOVINET_QUADS)
constexpr int kLowest = kLowestByte;

void quantize_bytes(const float* in, const float* scale, int zero, uint8_t* out, size_t rows) {
  const Vector offset = splat(static_cast<float>(zero));
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const Vector s = load(scale + lane);
    for (size_t at = lane; at < rows * kPanel; at += kPanel)
      store_bytes(out + at, round(load(in + at) * s + offset));
  }
}
#else
constexpr int kLowest = 0;
constexpr auto byte_product = nullptr, quantize_bytes = nullptr;
#endif

}  // namespace

#define MOVINET_QUOTE(name) #name
#define MOVINET_NAME(name) MOVINET_QUOTE(name)
#define MOVINET_JOIN(prefix, name) prefix##name
#define MOVINET_TABLE(name) MOVINET_JOIN(kernels_, name)

extern const Kernels MOVINET_TABLE(MOVINET_ISA);
const Kernels MOVINET_TABLE(MOVINET_ISA) = {
    .name = MOVINET_NAME(MOVINET_ISA),
    .panels_at_once = std::max(1, kTileChannels / kPanel),
    .product = product,
    .integer_product = integer_product,
    .byte_product = byte_product,
    .lowest_byte = kLowest,
    .dense = dense,
    .stem = stem,
    .depthwise = depthwise,
    .taps = taps,
    .average_pool = average_pool,
    .bytes_to_floats = bytes_to_floats,
    .scale_columns = scale_columns,
    .scale_rows = scale_rows,
    .sum_rows = sum_rows,
    .range = range,
    .quantize = quantize,
    .quantize_bytes = quantize_bytes,
};

}  // namespace movinet
