// Products of integers.
#pragma once

#include <algorithm>
#include <cstring>

#include "products.h"

namespace movinet {
namespace {

// Products of 16-bit integers, two inputs a lane, and the weights that they are multiplied by.
struct Pairs {
  using Element = int16_t;
  static constexpr int kInputs = 2;
  MOVINET_INLINE static Integers load_weights(const int8_t* b) { return load_int8_pairs(b); }
  MOVINET_INLINE static Integers add(Integers sum, Integers a, Integers b) {
    return add_products(sum, a, b);
  }
};

#if defined(MOVINET_QUADS)
// Of 8-bit integers, four inputs a lane.
struct Quads {
  using Element = uint8_t;
  static constexpr int kInputs = 4;
  MOVINET_INLINE static Integers load_weights(const int8_t* b) {
    Integers v;
    std::memcpy(&v, b, sizeof v);
    return v;
  }
  MOVINET_INLINE static Integers add(Integers sum, Integers a, Integers b) {
    return add_quads(sum, a, b);
  }
};
#endif

template <class Kind, int kRows, int kVectors>
void integer_tile(const IntegerProduct& p, const typename Kind::Element* a, const int8_t* b,
                  int row, int channel) {
  constexpr int kInputs = Kind::kInputs;
  Integers sums[kRows][kVectors] = {};
  if constexpr (kInputs == 4)
#pragma GCC unroll 32
    for (int v = 0; v < kVectors; v++) {
      Integers made_up;
      std::memcpy(&made_up, p.b_sums + channel + v * kLanes, sizeof made_up);
#pragma GCC unroll 32
      for (int r = 0; r < kRows; r++) sums[r][v] = made_up * splat(-p.zero);
    }
  const int steps = (p.inputs + kInputs - 1) / kInputs;
  const size_t b_panel = static_cast<size_t>(steps) * kPanel * kInputs;
  Fetch fetch(p.ahead, steps * (kInputs / 2), b);
  for (int left = steps; left > 0; left -= kPanel / kInputs, a += p.a_panel) {
    const int count = std::min(left, kPanel / kInputs);
    for (int i = 0; i < count; i++, b += kPanel * kInputs) {
      for (int n = 0; n < kInputs / 2; n++) fetch();
      Integers w[kVectors];
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; v++)
        w[v] = Kind::load_weights(b + panel_of(v) * b_panel + kInputs * lane_of(v));
#pragma GCC unroll 32
      for (int r = 0; r < kRows; r++) {
        int32_t inputs;
        std::memcpy(&inputs, a + r * kPanel + kInputs * i, sizeof inputs);
        const Integers x = splat(inputs);
#pragma GCC unroll 32
        for (int v = 0; v < kVectors; v++) sums[r][v] = Kind::add(sums[r][v], x, w[v]);
      }
    }
  }
  // Local copies: for all the compiler knows, every store could change what `p` says.
  const size_t start = channel / kPanel * p.c_panel + row * kPanel + channel % kPanel;
  const size_t c_panel = p.c_panel, scale_step = p.a_scale_step;
  const float* a_scales = p.a_scales + row * scale_step;
  const float* residual = p.residual ? p.residual + start : nullptr;
  float* c = p.c + start;
  with_activation(p.activation, [&]<Activation kActivation>() {
#pragma GCC unroll 32
    for (int v = 0; v < kVectors; v++) {
      const Vector scale = load(p.scale + channel + v * kLanes);
      const Vector bias = load(p.bias + channel + v * kLanes);
      Vector unit = scale * a_scales[0];
#pragma GCC unroll 32
      for (int r = 0; r < kRows; r++) {
        const size_t at = panel_of(v) * c_panel + r * kPanel + lane_of(v);
        if (kInputs == 2 && scale_step) unit = scale * a_scales[r];  // bytes have one scale
        Vector y = to_floats(sums[r][v]) * unit + bias;
        if (residual) y += load(residual + at);
        store(c + at, activate<kActivation>(y));
      }
    }
  });
}

template <class Kind, int kVectors, int kRows = kRowsOf<kVectors>>
MOVINET_INLINE void integer_tile_of_rows(int rows, const IntegerProduct& p,
                                         const typename Kind::Element* a, const int8_t* b, int row,
                                         int channel) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return integer_tile<Kind, kRows, kVectors>(p, a, b, row, channel);
    integer_tile_of_rows<Kind, kVectors, kRows - 1>(rows, p, a, b, row, channel);
  }
}

template <class Kind, int kVectors>
MOVINET_INLINE void column_of_integer_tiles(const IntegerProduct& p, int channel) {
  const size_t steps = (p.inputs + Kind::kInputs - 1) / Kind::kInputs;
  const int8_t* b =
      p.b + (channel / kPanel * steps * kPanel + channel % kPanel) * Kind::kInputs;
  const auto* a = static_cast<const typename Kind::Element*>(p.a);
  const int tiles = (p.rows + kRowsOf<kVectors> - 1) / kRowsOf<kVectors>;
  for (int t = 0, row = 0; t < tiles; t++) {
    const int end = static_cast<int>(static_cast<int64_t>(p.rows) * (t + 1) / tiles);
    integer_tile_of_rows<Kind, kVectors>(end - row, p, a + row * kPanel, b, row, channel);
    row = end;
  }
}

template <class Kind>
void run_integer_product(const IntegerProduct& p) {
  for (int channel = 0; channel < p.outputs; channel += kTileChannels) {
    if (p.outputs - channel > kTileChannels / 2)
      column_of_integer_tiles<Kind, kTileVectors>(p, channel);
    else
      column_of_integer_tiles<Kind, kTileVectors / 2>(p, channel);
  }
  if (comes_later(p.activation))
    for (size_t i = 0; i < panels(p.outputs); i++) finish(p.activation, p.c + i * p.c_panel, p.rows);
}

void integer_product(const IntegerProduct& p) { run_integer_product<Pairs>(p); }

#if defined(MOVINET_QUADS)
void byte_product(const IntegerProduct& p) { run_integer_product<Quads>(p); }
#endif

// kRows rows of one panel. Even and odd inputs have sums of their own, for more than one addition
// at a time.
template <int kRows>
void dense_rows(const Dense& d, int row, int channel) {
  constexpr int kVectors = kPanel / kLanes, kWays = 2;
  const size_t panel = channel / kPanel, a_panel = static_cast<size_t>(d.rows) * kPanel;
  const float* a = d.a + row * kPanel;
  const int16_t* b = d.b + panel * d.inputs * kPanel;
  const float* scale = d.scale + panel * ((d.inputs + kRun - 1) / kRun) * kPanel;
  Vector totals[kRows][kVectors];
  for (int r = 0; r < kRows; r++)
    for (int v = 0; v < kVectors; v++) totals[r][v] = load(d.bias + channel + v * kLanes);
  for (int start = 0; start < d.inputs; start += kRun, scale += kPanel) {
    Vector sums[kRows][kVectors][kWays] = {};
    const int end = std::min(start + kRun, d.inputs);
    for (int from = start; from < end; from += kPanel, a += a_panel) {
      const int count = std::min(kPanel, end - from);
      for (int i = 0; i + kWays <= count; i += kWays, b += kWays * kPanel)
#pragma GCC unroll 32
        for (int w = 0; w < kWays; w++)
#pragma GCC unroll 32
          for (int v = 0; v < kVectors; v++) {
            const Vector weight = load_int16(b + w * kPanel + v * kLanes);
#pragma GCC unroll 32
            for (int r = 0; r < kRows; r++)
              sums[r][v][w] += splat(a[r * kPanel + i + w]) * weight;
          }
      if (count % kWays) {
        for (int v = 0; v < kVectors; v++)
          for (int r = 0; r < kRows; r++)
            sums[r][v][0] += splat(a[r * kPanel + count - 1]) * load_int16(b + v * kLanes);
        b += kPanel;
      }
    }
    for (int r = 0; r < kRows; r++)
      for (int v = 0; v < kVectors; v++)
        totals[r][v] += (sums[r][v][0] + sums[r][v][1]) * load(scale + v * kLanes);
  }
  float* c = d.c + panel * a_panel + row * kPanel;
  with_activation(d.activation, [&]<Activation kActivation>() {
    for (int r = 0; r < kRows; r++)
      for (int v = 0; v < kVectors; v++)
        store(c + r * kPanel + v * kLanes, activate<kActivation>(totals[r][v]));
  });
  finish(d.activation, c, kRows);
}

void dense(const Dense& d) {
  for (int channel = 0; channel < d.outputs; channel += kPanel)
    for (int row = 0; row < d.rows;) {
      const int left = d.rows - row;
      if (left >= 4) dense_rows<4>(d, row, channel), row += 4;
      else if (left >= 2) dense_rows<2>(d, row, channel), row += 2;
      else dense_rows<1>(d, row, channel), row += 1;
    }
}

}  // namespace
}  // namespace movinet
