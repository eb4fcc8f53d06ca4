// Matrix products.
#pragma once

#include <algorithm>

#include "activation.h"

namespace movinet {
namespace {

constexpr int kTileChannels = kTileVectors * kLanes;

// Vector v of a tile is in this panel, at this lane.
constexpr int panel_of(int v) { return v * kLanes / kPanel; }
constexpr int lane_of(int v) { return v * kLanes % kPanel; }

// Fetches a line at every call, if there is anything to fetch.
struct Fetch {
  const char* at;
  size_t step = 64;

  Fetch(Ahead* ahead, int lines, const void* nothing) : at(ahead ? ahead->take(lines) : nullptr) {
    if (!at) at = static_cast<const char*>(nothing), step = 0;  // what is in the cache anyway
  }
  MOVINET_INLINE void operator()() {
    __builtin_prefetch(at, 0, 2);
    at += step;
  }
};

// How a product walks over a: a place's distance to the next, and the length of a run of inputs.
template <int kRowStride, int kLength, int kRows, int kVectors>
MOVINET_INLINE void multiply(Vector (&sums)[kRows][kVectors], const float* a, size_t a_panel,
                             const float* b, size_t b_panel, int inputs, Fetch fetch) {
  for (; inputs > 0; inputs -= kLength, a += a_panel) {
    const int count = std::min(inputs, kLength);
    for (int i = 0; i < count; i++, b += kPanel) {
      fetch();
      Vector w[kVectors];
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; v++) w[v] = load(b + panel_of(v) * b_panel + lane_of(v));
#pragma GCC unroll 32
      for (int r = 0; r < kRows; r++) {
        const Vector x = splat(a[r * kRowStride + i]);
#pragma GCC unroll 32
        for (int v = 0; v < kVectors; v++) sums[r][v] += x * w[v];
      }
    }
  }
}

template <int kRowStride, int kLength, int kRows, int kVectors>
void tile(const Product& p, const float* a, const float* b, int row, int channel) {
  Vector sums[kRows][kVectors];
  const size_t start = channel / kPanel * p.c_panel + row * kPanel + channel % kPanel;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; v++) {
    const Vector bias = load(p.bias + channel + v * kLanes);
#pragma GCC unroll 32
    for (int r = 0; r < kRows; r++) sums[r][v] = bias;
  }
  if (p.residual) {
    const float* from = p.residual + start;
#pragma GCC unroll 32
    for (int r = 0; r < kRows; r++)
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; v++)
        sums[r][v] += load(from + panel_of(v) * p.c_panel + r * kPanel + lane_of(v));
  }
  multiply<kRowStride, kLength>(sums, a, p.a_panel, b, static_cast<size_t>(p.inputs) * kPanel,
                                p.inputs, Fetch(p.ahead, p.inputs, b));
  float* to = p.c + start;
  const size_t c_panel = p.c_panel;  // a copy: for all the compiler knows, every store could change it
  with_activation(p.activation, [&]<Activation kActivation>() {
#pragma GCC unroll 32
    for (int r = 0; r < kRows; r++)
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; v++)
        store(to + panel_of(v) * c_panel + r * kPanel + lane_of(v),
              activate<kActivation>(sums[r][v]));
  });
}

// A narrow tile is higher: as many sums are on their way.
template <int kVectors>
constexpr int kRowsOf = kTileRows * (kTileVectors / kVectors);

template <int kRowStride, int kLength, int kVectors, int kRows = kRowsOf<kVectors>>
MOVINET_INLINE void tile_of_rows(int rows, const Product& p, const float* a, const float* b,
                                 int row, int channel) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return tile<kRowStride, kLength, kRows, kVectors>(p, a, b, row, channel);
    tile_of_rows<kRowStride, kLength, kVectors, kRows - 1>(rows, p, a, b, row, channel);
  }
}

template <int kRowStride, int kLength, int kVectors>
MOVINET_INLINE void column_of_tiles(const Product& p, const float* b, int channel) {
  const int tiles = (p.rows + kRowsOf<kVectors> - 1) / kRowsOf<kVectors>;
  for (int t = 0, row = 0; t < tiles; t++) {
    // Tiles of nearly equal height: a last one of few rows would run at a fraction of the speed.
    const int end = static_cast<int>(static_cast<int64_t>(p.rows) * (t + 1) / tiles);
    const float* a = p.a + static_cast<size_t>(row) * kRowStride;
    tile_of_rows<kRowStride, kLength, kVectors>(end - row, p, a, b, row, channel);
    row = end;
  }
}

// One or two rows would have few sums on their way: more channels at once; returns how many.
template <int kRowStride, int kLength>
MOVINET_INLINE int wide_tile(const Product& p, const float* b, int channel) {
  const int left = p.outputs - channel;
  if (p.rows == 1 && left > 8 * kLanes - kPanel) {
    tile<kRowStride, kLength, 1, 8>(p, p.a, b, 0, channel);
    return 8 * kLanes;
  }
  if (left <= 4 * kLanes - kPanel) return 0;
  if (p.rows == 1)
    tile<kRowStride, kLength, 1, 4>(p, p.a, b, 0, channel);
  else
    tile<kRowStride, kLength, 2, 4>(p, p.a, b, 0, channel);
  return 4 * kLanes;
}

// Every group of output channels stays in the first cache while all places pass by.
template <int kRowStride, int kLength>
void run_product(const Product& p) {
  for (int channel = 0; channel < p.outputs;) {
    const float* b = p.b + static_cast<size_t>(channel / kPanel) * p.inputs * kPanel;
    if (p.rows <= 2)
      if (const int done = wide_tile<kRowStride, kLength>(p, b, channel)) {
        channel += done;
        continue;
      }
    if (p.outputs - channel > kTileChannels / 2)
      column_of_tiles<kRowStride, kLength, kTileVectors>(p, b, channel);
    else
      column_of_tiles<kRowStride, kLength, kTileVectors / 2>(p, b, channel);
    channel += kTileChannels;
  }
  if (comes_later(p.activation))
    for (size_t i = 0; i < panels(p.outputs); i++) finish(p.activation, p.c + i * p.c_panel, p.rows);
}

void product(const Product& p) {
  run_product<kPanel, kPanel>(p);
}

void stem(const Product& p) { run_product<2 * 3, 3 * 3>(p); }

}  // namespace
}  // namespace movinet
