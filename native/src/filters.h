// What each channel does for itself: over space, over time, pooled.
#pragma once

#include <algorithm>

#include "activation.h"

namespace movinet {
namespace {

// The vectors of a panel in which there are channels.
MOVINET_INLINE int vectors_of(int channels) {
  return (std::min(channels, kPanel) + kLanes - 1) / kLanes;
}

// kCount neighbouring outputs of one vector.
template <int kKernel, int kStride, int kCount, Activation kActivation>
MOVINET_INLINE Vector neighbours(const DepthwiseRow& d, const float* const* rows, int column,
                                 int lane) {
  const int kernel = kKernel ? kKernel : d.kernel, stride = kStride ? kStride : d.stride;
  Vector sums[kCount];
  const Vector bias = load(d.bias + lane);
  for (int n = 0; n < kCount; n++) sums[n] = bias;
#pragma GCC unroll 5
  for (int u = 0; u < kernel; u++) {
    const float* in = rows[u] + column * stride * kPanel + lane;
    const float* weight = d.weight + u * kernel * kPanel + lane;
    if constexpr (kKernel > 0) {
      // Every input is loaded once for all outputs that it is part of.
      Vector w[kKernel];
#pragma GCC unroll 8
      for (int v = 0; v < kKernel; v++) w[v] = load(weight + v * kPanel);
#pragma GCC unroll 16
      for (int c = 0; c < (kCount - 1) * kStride + kKernel; c++) {
        const Vector x = load(in + c * kPanel);
#pragma GCC unroll 8
        for (int v = 0; v < kKernel; v++)
          if (c >= v && (c - v) % kStride == 0 && (c - v) / kStride < kCount)
            sums[(c - v) / kStride] += x * w[v];
      }
    } else {
      for (int v = 0; v < kernel; v++) {
        const Vector w = load(weight + v * kPanel);
#pragma GCC unroll 8
        for (int n = 0; n < kCount; n++) sums[n] += load(in + (n * stride + v) * kPanel) * w;
      }
    }
  }
  Vector total{};
#pragma GCC unroll 8
  for (int n = 0; n < kCount; n++) {
    const Vector y = activate<kActivation>(sums[n]);
    store(d.out + (column + n) * kPanel + lane, y);
    total += y;
  }
  return total;
}

template <int kKernel, int kStride, Activation kActivation>
void depthwise_row(const DepthwiseRow& by_reference) {
  // Local copies: for all the compiler knows, every store could change the originals.
  const DepthwiseRow d = by_reference;
  const float* rows[kKernel ? kKernel : kMaxKernel];
  std::copy_n(d.rows, d.kernel, rows);
  for (int vector = 0; vector < vectors_of(d.channels); vector++) {
    const int lane = vector * kLanes;
    Vector total{};
    int column = 0;
    for (; column + 6 <= d.width; column += 6)
      total += neighbours<kKernel, kStride, 6, kActivation>(d, rows, column, lane);
    for (; column + 4 <= d.width; column += 4)
      total += neighbours<kKernel, kStride, 4, kActivation>(d, rows, column, lane);
    const int left = d.width - column;
    if (left == 3) total += neighbours<kKernel, kStride, 3, kActivation>(d, rows, column, lane);
    if (left == 2) total += neighbours<kKernel, kStride, 2, kActivation>(d, rows, column, lane);
    if (left == 1) total += neighbours<kKernel, kStride, 1, kActivation>(d, rows, column, lane);
    store(d.sums + lane, load(d.sums + lane) + total);
  }
}

void sum_rows(const float* in, float* sums, size_t rows) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    Vector even = load(sums + lane), odd{};
    size_t r = 0;
    for (; r + 2 <= rows; r += 2) {
      even += load(in + r * kPanel + lane);
      odd += load(in + (r + 1) * kPanel + lane);
    }
    if (r < rows) even += load(in + r * kPanel + lane);
    store(sums + lane, even + odd);
  }
}

void depthwise(const DepthwiseRow& d) {
  if (is_exponential(d.activation)) {
    // Sums are of what comes after the activation.
    DepthwiseRow bare = d;
    float unused[kPanel] = {};
    bare.activation = Activation::none;
    bare.sums = unused;
    depthwise(bare);
    finish(d.activation, d.out, d.width);
    return sum_rows(d.out, d.sums, d.width);
  }
  with_activation(d.activation, [&]<Activation kActivation>() {
    if (d.kernel == 3 && d.stride == 1) return depthwise_row<3, 1, kActivation>(d);
    if (d.kernel == 3 && d.stride == 2) return depthwise_row<3, 2, kActivation>(d);
    if (d.kernel == 5 && d.stride == 1) return depthwise_row<5, 1, kActivation>(d);
    if (d.kernel == 5 && d.stride == 2) return depthwise_row<5, 2, kActivation>(d);
    depthwise_row<0, 0, kActivation>(d);
  });
}

// Over time --------------------------------------------------------------------------------------

// Places that are summed up before the sum joins that of all.
constexpr int kSummed = 64;

template <int kKernel, Activation kActivation>
void taps_of(const Taps& t) {
  const int kernel = kKernel ? kKernel : t.kernel, places = t.places;
  // Local copies: for all the compiler knows, every store could change what `t` points to.
  const float *fresh_frame = t.fresh, *weight = t.weight;
  float *out = t.out, *past[kKernel ? kKernel : kMaxKernel];
  std::copy_n(t.past, kernel - 1, past);
  for (int vector = 0; vector < vectors_of(t.channels); vector++) {
    const int lane = vector * kLanes;
    const Vector bias = load(t.bias + lane), last = load(weight + (kernel - 1) * kPanel + lane);
    Vector total{};
    // Sums of sums: a single long one would lose digits.
    for (int start = 0; start < places; start += kSummed) {
      Vector part{};
      for (int i = start; i < std::min(start + kSummed, places); i++) {
        const int at = i * kPanel + lane;
        const Vector fresh = load(fresh_frame + at);
        Vector sum = bias + fresh * last;
#pragma GCC unroll 4
        for (int k = 0; k < kernel - 1; k++)
          sum += load(past[k] + at) * load(weight + k * kPanel + lane);
        store(past[0] + at, fresh);
        const Vector y = activate<kActivation>(sum);
        store(out + at, y);
        part += y;
      }
      total += part;
    }
    store(t.sums + lane, load(t.sums + lane) + total);
  }
}

void taps(const Taps& t) {
  if (is_exponential(t.activation)) {
    Taps bare = t;
    float unused[kPanel] = {};
    bare.activation = Activation::none;
    bare.sums = unused;
    taps(bare);
    finish(t.activation, t.out, t.places);
    return sum_rows(t.out, t.sums, t.places);
  }
  with_activation(t.activation, [&]<Activation kActivation>() {
    if (t.kernel == 3) return taps_of<3, kActivation>(t);
    if (t.kernel == 5) return taps_of<5, kActivation>(t);
    taps_of<0, kActivation>(t);
  });
}

void average_pool(const float* in, int height, int width, int channels, float* out) {
  const int vectors = vectors_of(channels);
  const auto first = [](int o, int size) { return o * 2 - size % 2; };  // SAME padding
  for (int i = 0; i < (height + 1) / 2; i++) {
    const int top = std::max(first(i, height), 0), bottom = std::min(first(i, height) + 3, height);
    for (int j = 0; j < (width + 1) / 2; j++, out += kPanel) {
      const int left = std::max(first(j, width), 0), right = std::min(first(j, width) + 3, width);
      Vector sums[kPanel / kLanes] = {};
      for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++)
          for (int v = 0; v < vectors; v++)
            sums[v] += load(in + (static_cast<size_t>(y) * width + x) * kPanel + v * kLanes);
      const float share = 1.f / ((bottom - top) * (right - left));
      for (int v = 0; v < vectors; v++) store(out + v * kLanes, sums[v] * share);
    }
  }
}

}  // namespace
}  // namespace movinet
