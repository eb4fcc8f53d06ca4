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
MOVINET_INLINE Vector neighbours(const Depthwise& d, const float* const* rows, float* out,
                                 int column, int lane) {
  const int kernel = kKernel ? kKernel : d.kernel, stride = kStride ? kStride : d.stride;
  Vector sums[kCount];
  const Vector bias = load(d.bias + lane);
  for (int n = 0; n < kCount; n++) sums[n] = bias;
#pragma GCC unroll 1
  for (int u = 0; u < kernel; u++) {
    const float* in = rows[u] + column * stride * kPanel + lane;
    const float* weight = d.weight + u * kernel * kPanel + lane;
    if constexpr (kKernel > 0) {
      // Every input is loaded once for all outputs that it is part of.
      Vector w[kKernel];
#pragma GCC unroll 8
      for (int v = 0; v < kKernel; v++) w[v] = load(weight + v * kPanel);
#pragma GCC unroll 32
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
#pragma GCC unroll 16
        for (int n = 0; n < kCount; n++) sums[n] += load(in + (n * stride + v) * kPanel) * w;
      }
    }
  }
  Vector totals[2] = {};
#pragma GCC unroll 16
  for (int n = 0; n < kCount; n++) {
    const Vector y = activate<kActivation>(sums[n]);
    store(out + (column + n) * kPanel + lane, y);
    totals[n % 2] += y;
  }
  return totals[0] + totals[1];
}

template <int kKernel, int kStride, Activation kActivation, int kCount = kNeighbours>
MOVINET_INLINE Vector some_neighbours(int count, const Depthwise& d, const float* const* rows,
                                      float* out, int column, int lane) {
  if constexpr (kCount > 1)
    if (count < kCount)
      return some_neighbours<kKernel, kStride, kActivation, kCount - 1>(count, d, rows, out,
                                                                        column, lane);
  return neighbours<kKernel, kStride, kCount, kActivation>(d, rows, out, column, lane);
}

template <int kKernel, int kStride, Activation kActivation>
void depthwise_rows(const Depthwise& by_reference) {
  // A local copy: for all the compiler knows, every store could change the original.
  const Depthwise d = by_reference;
  const int stride = kStride ? kStride : d.stride;
  const int parts = (d.width + kNeighbours - 1) / kNeighbours;
  for (int vector = 0; vector < vectors_of(d.channels); vector++) {
    const int lane = vector * kLanes;
    Vector sum = load(d.sums + lane);
    for (int o = 0; o < d.count; o++) {
      const float* const* rows = d.rows + o * stride;
      float* out = d.out + static_cast<size_t>(o) * d.width * kPanel;
      Vector total{};
      for (int left = parts, column = 0; left > 0; left--) {
        const int count = (d.width - column) / left;  // parts of nearly equal width
        total += some_neighbours<kKernel, kStride, kActivation>(count, d, rows, out, column, lane);
        column += count;
      }
      sum += total;
    }
    store(d.sums + lane, sum);
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

void depthwise(const Depthwise& d) {
  if (comes_later(d.activation)) {
    // Sums are of what comes after the activation.
    Depthwise bare = d;
    float unused[kPanel] = {};
    bare.activation = Activation::none;
    bare.sums = unused;
    depthwise(bare);
    const size_t places = static_cast<size_t>(d.count) * d.width;
    finish(d.activation, d.out, places);
    return sum_rows(d.out, d.sums, places);
  }
  with_activation(d.activation, [&]<Activation kActivation>() {
    if (d.kernel == 3 && d.stride == 1) return depthwise_rows<3, 1, kActivation>(d);
    if (d.kernel == 3 && d.stride == 2) return depthwise_rows<3, 2, kActivation>(d);
    if (d.kernel == 5 && d.stride == 1) return depthwise_rows<5, 1, kActivation>(d);
    if (d.kernel == 5 && d.stride == 2) return depthwise_rows<5, 2, kActivation>(d);
    depthwise_rows<0, 0, kActivation>(d);
  });
}

// Over time --------------------------------------------------------------------------------------

// Places that are summed up before the sum joins that of all: a single long one would lose digits.
constexpr int kSummed = 64;

template <int kKernel, class Stored, Activation kActivation>
void taps_of(const Taps& t) {
  constexpr int kAtOnce = 4;
  const int kernel = kKernel ? kKernel : t.kernel, places = t.places;
  // Local copies: for all the compiler knows, every store could change what `t` points to.
  const float* fresh_frame = t.fresh;
  float* out = t.out;
  Stored* past[kKernel ? kKernel : kMaxKernel];
  for (int k = 0; k < kernel - 1; k++) past[k] = static_cast<Stored*>(t.past[k]);
  for (int vector = 0; vector < vectors_of(t.channels); vector++) {
    const int lane = vector * kLanes;
    Vector weight[kKernel ? kKernel : kMaxKernel];
    for (int k = 0; k < kernel; k++) weight[k] = load(t.weight + k * kPanel + lane);
    const Vector bias = load(t.bias + lane);
    const auto place = [&](int at) {
      const Vector fresh = load(fresh_frame + at);
      Vector sum = bias + fresh * weight[kernel - 1];
#pragma GCC unroll 4
      for (int k = 0; k < kernel - 1; k++) sum += load(past[k] + at) * weight[k];
      store(past[0] + at, fresh);
      const Vector y = activate<kActivation>(sum);
      store(out + at, y);
      return y;
    };
    Vector total{};
    for (int i = 0; i < places;) {
      const int end = std::min(i + kSummed, places);
      Vector parts[kAtOnce] = {};
      for (; i + kAtOnce <= end; i += kAtOnce)
#pragma GCC unroll 4
        for (int n = 0; n < kAtOnce; n++) parts[n] += place((i + n) * kPanel + lane);
      for (; i < end; i++) parts[0] += place(i * kPanel + lane);
      total += (parts[0] + parts[1]) + (parts[2] + parts[3]);
    }
    store(t.sums + lane, load(t.sums + lane) + total);
  }
}

void taps(const Taps& t) {
  if (comes_later(t.activation)) {
    Taps bare = t;
    float unused[kPanel] = {};
    bare.activation = Activation::none;
    bare.sums = unused;
    taps(bare);
    finish(t.activation, t.out, t.places);
    return sum_rows(t.out, t.sums, t.places);
  }
  with_activation(t.activation, [&]<Activation kActivation>() {
    const auto of = [&]<class Stored>(Stored) {
      if (t.kernel == 3) return taps_of<3, Stored, kActivation>(t);
      if (t.kernel == 5) return taps_of<5, Stored, kActivation>(t);
      taps_of<0, Stored, kActivation>(t);
    };
    t.halves ? of(uint16_t{}) : of(float{});
  });
}

void average_pool(const float* in, int height, int width, int channels, float* out) {
  const int vectors = vectors_of(channels);
  const auto first = [](int o, int size) { return o * 2 - size % 2; };  // SAME padding
  for (int i = 0; i < (height + 1) / 2; i++) {
    const int top = std::max(first(i, height), 0), bottom = std::min(first(i, height) + 3, height);
    for (int j = 0; j < (width + 1) / 2; j++, out += kPanel) {
      const int left = std::max(first(j, width), 0), right = std::min(first(j, width) + 3, width);
      const size_t pitch = static_cast<size_t>(width) * kPanel;
      const float* corner = in + top * pitch + static_cast<size_t>(left) * kPanel;
      Vector sums[kPanel / kLanes] = {};
      const auto add = [&](const float* place) {
        for (int v = 0; v < vectors; v++) sums[v] += load(place + v * kLanes);
      };
      if (bottom - top == 3 && right - left == 3) {
#pragma GCC unroll 9
        for (int k = 0; k < 9; k++) add(corner + k / 3 * pitch + k % 3 * kPanel);
      } else {
        for (int y = 0; y < bottom - top; y++)
          for (int x = 0; x < right - left; x++) add(corner + y * pitch + x * kPanel);
      }
      const float share = 1.f / ((bottom - top) * (right - left));
      for (int v = 0; v < vectors; v++) store(out + v * kLanes, sums[v] * share);
    }
  }
}

}  // namespace
}  // namespace movinet
