// The kernels, written once; compiled once for each instruction set (MOVINET_ISA names it).
#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "simd.h"

namespace movinet {
namespace {

// A tile of a product lives in registers: kTileRows places times kTileVectors vectors.
#if defined(__AVX512F__)
constexpr int kTileRows = 12, kTileVectors = 2;  // 24 sums, 2 of b
#elif defined(__AVX2__)
constexpr int kTileRows = 6, kTileVectors = 2;  // 12 sums, 2 of b, 1 of a
#elif defined(__aarch64__)
constexpr int kTileRows = 6, kTileVectors = 4;  // 24 sums, 4 of b, 1 of a
#else
constexpr int kTileRows = 2, kTileVectors = 4;
#endif
constexpr int kTileChannels = kTileVectors * kLanes;

// Activations ------------------------------------------------------------------------------------

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
  const float n = (x * 1.44269504f + 12582912.f) - 12582912.f;  // rounds to an integer
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1 / 5040.f;
  p = p * r + 1 / 720.f;
  p = p * r + 1 / 120.f;
  p = p * r + 1 / 24.f;
  p = p * r + 1 / 6.f;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
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

// Those that need an exponential are applied to what was stored; the others to registers.
MOVINET_INLINE bool is_exponential(Activation a) {
  return a == Activation::swish || a == Activation::sigmoid;
}

template <class F>
MOVINET_INLINE void with_activation(Activation activation, F&& body) {
  switch (activation) {
    case Activation::hard_swish:
      return body.template operator()<Activation::hard_swish>();
    case Activation::relu6:
      return body.template operator()<Activation::relu6>();
    case Activation::hard_sigmoid:
      return body.template operator()<Activation::hard_sigmoid>();
    default:
      return body.template operator()<Activation::none>();
  }
}

void finish(Activation activation, float* out, size_t rows) {
  if (!is_exponential(activation)) return;
  for (size_t r = 0; r < rows; r++) sigmoid_panel(out + r * kPanel, activation == Activation::swish);
}

// Products ---------------------------------------------------------------------------------------

// Vector v of a tile is in this panel, at this lane.
constexpr int panel_of(int v) { return v * kLanes / kPanel; }
constexpr int lane_of(int v) { return v * kLanes % kPanel; }

// How a product walks over a: a place's distance to the next, and the length of a run of inputs.
template <int kRowStride, int kLength, int kRows, int kVectors>
MOVINET_INLINE void multiply(Vector (&sums)[kRows][kVectors], const float* a, size_t a_panel,
                             const float* b, size_t b_panel, int inputs) {
  for (; inputs > 0; inputs -= kLength, a += a_panel) {
    const int count = std::min(inputs, kLength);
    for (int i = 0; i < count; i++, b += kPanel) {
      Vector w[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; v++) w[v] = load(b + panel_of(v) * b_panel + lane_of(v));
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++) {
        const Vector x = splat(a[r * kRowStride + i]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; v++) sums[r][v] += x * w[v];
      }
    }
  }
}

template <int kRowStride, int kLength, int kRows, int kVectors>
void tile(const Product& p, const float* a, const float* b, int row, int channel) {
  Vector sums[kRows][kVectors];
  const size_t start = channel / kPanel * p.c_panel + row * kPanel + channel % kPanel;
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; v++) {
    const Vector bias = load(p.bias + channel + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++) sums[r][v] = bias;
  }
  if (p.residual) {
    const float* from = p.residual + start;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; v++)
        sums[r][v] += load(from + panel_of(v) * p.c_panel + r * kPanel + lane_of(v));
  }
  multiply<kRowStride, kLength>(sums, a, p.a_panel, b, static_cast<size_t>(p.inputs) * kPanel,
                             p.inputs);
  float* to = p.c + start;
  with_activation(p.activation, [&]<Activation kActivation>() {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; v++)
        store(to + panel_of(v) * p.c_panel + r * kPanel + lane_of(v),
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

MOVINET_INLINE void fetch(Ahead& ahead, int lines) {
  while (lines > 0 && ahead.count) {
    Ahead::Region& region = ahead.regions[ahead.count - 1];
    for (; lines > 0 && region.at < region.end; lines--, region.at += 64)
      __builtin_prefetch(region.at, 0, 2);
    if (region.at >= region.end) ahead.count--;
  }
}

template <int kRowStride, int kLength, int kVectors>
MOVINET_INLINE void column_of_tiles(const Product& p, const float* b, int channel, int lines) {
  const int tiles = (p.rows + kRowsOf<kVectors> - 1) / kRowsOf<kVectors>;
  for (int t = 0, row = 0; t < tiles; t++) {
    // Tiles of nearly equal height: a last one of few rows would run at a fraction of the speed.
    const int end = static_cast<int>(static_cast<int64_t>(p.rows) * (t + 1) / tiles);
    const float* a = p.a + static_cast<size_t>(row) * kRowStride;
    if (p.ahead) fetch(*p.ahead, lines / tiles + 1);
    tile_of_rows<kRowStride, kLength, kVectors>(end - row, p, a, b, row, channel);
    row = end;
  }
}

// Every group of output channels stays in the first cache while all places pass by.
template <int kRowStride, int kLength>
void run_product(const Product& p) {
  const int groups = (p.outputs + kTileChannels - 1) / kTileChannels;
  for (int channel = 0; channel < p.outputs; channel += kTileChannels) {
    const float* b = p.b + static_cast<size_t>(channel / kPanel) * p.inputs * kPanel;
    if (p.outputs - channel > kTileChannels / 2)
      column_of_tiles<kRowStride, kLength, kTileVectors>(p, b, channel, p.lines / groups);
    else
      column_of_tiles<kRowStride, kLength, kTileVectors / 2>(p, b, channel, p.lines / groups);
  }
  if (is_exponential(p.activation))
    for (size_t i = 0; i < panels(p.outputs); i++) finish(p.activation, p.c + i * p.c_panel, p.rows);
}

void product(const Product& p) {
  run_product<kPanel, kPanel>(p);
}

void stem(const Product& p) { run_product<2 * 3, 3 * 3>(p); }

template <int kRows, int kVectors>
void integer_tile(const IntegerProduct& p, const int16_t* a, const int16_t* b, int row,
                  int channel) {
  Integers sums[kRows][kVectors] = {};
  const int pairs = (p.inputs + 1) / 2;
  const size_t b_panel = static_cast<size_t>(pairs) * kPanel * 2;
  for (int left = pairs; left > 0; left -= kPanel / 2, a += p.a_panel) {
    const int count = std::min(left, kPanel / 2);
    for (int i = 0; i < count; i++, b += kPanel * 2) {
      Integers w[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; v++)
        w[v] = load(reinterpret_cast<const int32_t*>(b + panel_of(v) * b_panel) + lane_of(v));
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++) {
        int32_t pair;
        std::memcpy(&pair, a + r * kPanel + 2 * i, sizeof pair);
        const Integers x = splat(pair);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; v++) sums[r][v] = add_products(sums[r][v], x, w[v]);
      }
    }
  }
  const size_t start = channel / kPanel * p.c_panel + row * kPanel + channel % kPanel;
  with_activation(p.activation, [&]<Activation kActivation>() {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) {
      const Vector scale = load(p.scale + channel + v * kLanes) * p.a_scale;
      const Vector bias = load(p.bias + channel + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++) {
        const size_t at = start + panel_of(v) * p.c_panel + r * kPanel + lane_of(v);
        Vector y = to_floats(sums[r][v]) * scale + bias;
        if (p.residual) y += load(p.residual + at);
        store(p.c + at, activate<kActivation>(y));
      }
    }
  });
}

template <int kVectors, int kRows = kRowsOf<kVectors>>
MOVINET_INLINE void integer_tile_of_rows(int rows, const IntegerProduct& p, const int16_t* a,
                                         const int16_t* b, int row, int channel) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return integer_tile<kRows, kVectors>(p, a, b, row, channel);
    integer_tile_of_rows<kVectors, kRows - 1>(rows, p, a, b, row, channel);
  }
}

template <int kVectors>
MOVINET_INLINE void column_of_integer_tiles(const IntegerProduct& p, int channel) {
  const size_t pairs = (p.inputs + 1) / 2;
  const int16_t* b = p.b + channel / kPanel * pairs * kPanel * 2 + channel % kPanel * 2;
  const int tiles = (p.rows + kRowsOf<kVectors> - 1) / kRowsOf<kVectors>;
  for (int t = 0, row = 0; t < tiles; t++) {
    const int end = static_cast<int>(static_cast<int64_t>(p.rows) * (t + 1) / tiles);
    integer_tile_of_rows<kVectors>(end - row, p, p.a + row * kPanel, b, row, channel);
    row = end;
  }
}

void integer_product(const IntegerProduct& p) {
  for (int channel = 0; channel < p.outputs; channel += kTileChannels) {
    if (p.outputs - channel > kTileChannels / 2)
      column_of_integer_tiles<kTileVectors>(p, channel);
    else
      column_of_integer_tiles<kTileVectors / 2>(p, channel);
  }
  if (is_exponential(p.activation))
    for (size_t i = 0; i < panels(p.outputs); i++) finish(p.activation, p.c + i * p.c_panel, p.rows);
}

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
#pragma GCC unroll 16
        for (int w = 0; w < kWays; w++)
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; v++) {
            const Vector weight = load_int16(b + w * kPanel + v * kLanes);
#pragma GCC unroll 16
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

// Depthwise --------------------------------------------------------------------------------------

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
#pragma GCC unroll 5
    for (int v = 0; v < kernel; v++) {
      const Vector w = load(weight + v * kPanel);
#pragma GCC unroll 8
      for (int n = 0; n < kCount; n++) sums[n] += load(in + (n * stride + v) * kPanel) * w;
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

// Small ones -------------------------------------------------------------------------------------

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

void largest(const float* in, const float* scale, float* most, size_t rows) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    Vector high{};
    for (size_t r = 0; r < rows; r++) {
      const Vector x = load(in + r * kPanel + lane);
      high = maximum(high, maximum(x, -x));
    }
    const Vector s = load(scale + lane);
    store(most + lane, high * maximum(s, -s));
  }
}

void quantize(const float* in, const float* scale, int16_t* out, size_t rows) {
  float s[kPanel];
  std::copy_n(scale, kPanel, s);
  for (size_t r = 0; r < rows; r++, in += kPanel, out += kPanel)
    for (int i = 0; i < kPanel; i++) {
      const float x = in[i] * s[i] + 12582912.f;  // rounds; the integer is in the low bits
      int32_t bits;
      std::memcpy(&bits, &x, sizeof bits);
      out[i] = static_cast<int16_t>(bits);
    }
}

int64_t spin(int64_t multiply_adds) {
  constexpr int kSums = 12;
  Vector sums[kSums], x = splat(1e-3f), w = splat(1e-3f);
  for (int i = 0; i < kSums; i++) sums[i] = splat(static_cast<float>(i));  // none like another
  int64_t done = 0;
  for (; done < multiply_adds; done += kSums * kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; i++) sums[i] += x * w;
#if defined(__AVX2__)
    asm volatile("" : "+v"(x));  // the compiler may not take the product out of the loop
#else
    asm volatile("" : "+m"(x));
#endif
  }
  for (int i = 1; i < kSums; i++) sums[0] += sums[i];
  volatile float kept = sums[0][0];
  (void)kept;
  return done;
}

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
    .dense = dense,
    .stem = stem,
    .depthwise = depthwise,
    .taps = taps,
    .average_pool = average_pool,
    .scale_columns = scale_columns,
    .scale_rows = scale_rows,
    .sum_rows = sum_rows,
    .largest = largest,
    .quantize = quantize,
    .spin = spin,
};

}  // namespace movinet
