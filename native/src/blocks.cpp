// The three passes of a block. network.h says how they go.
#include <algorithm>
#include <cmath>

#include "network.h"

namespace movinet {
namespace {

// At most so much is fetched ahead; more would push out of the second cache what is in use.
size_t most_ahead() { return second_cache() / 8 * 3; }

// Output rows of a depthwise kernel in one call.
constexpr int kRowsAtOnce = 16;

}  // namespace

void Layer::add_to(Ahead& ahead) const {
  const size_t weights = inputs * padded(outputs);
  if (weight) ahead.add(weight, std::min(sizeof(float) * weights, most_ahead()));
  if (integers) ahead.add(integers, std::min(weights, most_ahead()));
}

// Pass 1 of network.h.
void Network::filter(Workspace& w, const Block& b, const std::vector<Item>& items) const {
  const int count = static_cast<int>(items.size()), at_once = kernels_->panels_at_once;
  if (b.expand.integers)
    quantize(w, b.expand, w.x, static_cast<int>(b.in.places()), count);
  for (float* of_z : {w.sums, w.least, w.greatest})
    std::fill_n(of_z, count * padded(b.record.expand), 0.f);
  w.team->run([&](int member) {
    Scratch& s = w.scratch[member];
    s.panels = share(static_cast<int>(panels(b.record.expand)), at_once, member, w.team->size());
    s.ahead.count = 0;
    if (member == 0)
      for (const Layer* layer : {&b.project, &b.gate, &b.reduce}) layer->add_to(s.ahead);
    // The columns of padding; products write between them.
    const int right = b.padded_width - b.in.width - b.pad_left;
    float* row = s.ring;
    for (int i = (b.whole ? at_once : s.panels.size()) * b.ring_rows; i > 0; i--) {
      std::fill_n(row, b.pad_left * kPanel, 0.f);
      row += static_cast<size_t>(b.padded_width) * kPanel;
      std::fill_n(row - right * kPanel, right * kPanel, 0.f);
    }
    if (b.whole) {
      for (int panel = s.panels.begin; panel < s.panels.end; panel += at_once)
        for (int i = 0; i < count; i++)
          filter_band(w, s, {b, items[i], i, count, 0, b.out.height}, panel);
      return;
    }
    for (int i = 0; i < count; i++)
      for (int first = 0; first < b.out.height; first += b.band)
        for (int panel = s.panels.begin; panel < s.panels.end; panel += at_once)
          filter_band(w, s, {b, items[i], i, count, first,
                             std::min(first + b.band, b.out.height)}, panel);
  });
}

// Output rows of some panels of an item: expand, depthwise, taps.
void Network::filter_band(Workspace& w, Scratch& s, const Band& band, int panel) const {
  const Block& b = band.block;
  const int first = panel, stop = std::min(panel + kernels_->panels_at_once, s.panels.end);
  // What the taps and later passes need comes into the cache while `expand` computes.
  const int later = s.ahead.count, kernel = static_cast<int>(b.record.kernel_time);
  const StatePart& frames = parts_[b.ring_part < 0 ? 0 : b.ring_part];
  const size_t bytes = band.places() * kPanel * frames.value_bytes();
  for (int i = panel; i < stop; i++)
    for (int k = 0; b.taps && k + 1 < kernel; k++) s.ahead.add(past(band, k, i), bytes);
  const size_t ring_panel = static_cast<size_t>(b.ring_rows) * b.padded_width * kPanel;
  float* ring = s.ring + (b.whole ? 0 : (first - s.panels.begin) * ring_panel);
  expand(w, s.ahead, band, panel, ring);
  s.ahead.forget_all_but(later);
  for (; panel < stop; panel++, ring += ring_panel) {
    float* z = w.z + ((static_cast<size_t>(panel) * band.count + band.index) * b.out.places() +
                      static_cast<size_t>(band.first) * b.out.width) * kPanel;
    const size_t at = band.index * padded(b.record.expand) + panel * kPanel;
    if (b.taps) {
      float unused[kPanel] = {};
      depthwise(w, band, panel, ring, s.fresh, unused);
      void* older[kMaxKernel];
      for (int k = 0; k + 1 < kernel; k++) older[k] = past(band, k, panel);
      kernels_->taps({s.fresh, older, frames.halves,
                      b.taps + static_cast<size_t>(panel) * kernel * kPanel,
                      b.taps_bias + panel * kPanel, z, w.sums + at,
                      static_cast<int>(band.places()), kernel,
                      static_cast<int>(b.record.expand) - panel * kPanel, header_.activation});
    } else {
      depthwise(w, band, panel, ring, z, w.sums + at);
    }
    if (b.project.integers) kernels_->range(z, w.least + at, w.greatest + at, band.places());
  }
}

// The input rows that the band needs and no earlier band has needed.
void Network::expand(Workspace& w, Ahead& ahead, const Band& band, int panel,
                     float* ring) const {
  const Block& b = band.block;
  const int begin = b.rows_until(band.first), end = b.rows_until(band.end);
  const int channel = panel * kPanel;
  const size_t row_size = static_cast<size_t>(b.padded_width) * kPanel;
  Product p = pointwise(b.expand, nullptr, nullptr, b.in.width, header_.activation);
  p.a_panel = band.count * b.in.places() * kPanel;
  if (p.b) p.b += static_cast<size_t>(channel) * p.inputs;
  p.bias += channel;
  p.c_panel = b.ring_rows * row_size;
  p.outputs = std::min(kernels_->panels_at_once * kPanel, p.outputs - channel);
  p.ahead = &ahead;
  IntegerProduct integers{};
  if (b.expand.integers) integers = of_integers(w, b.expand, p, 0, band.index, channel);
  for (int row = begin; row < end; row++) {
    const size_t at = (band.index * b.in.places() + static_cast<size_t>(row) * b.in.width) * kPanel;
    float* c = ring + row % b.ring_rows * row_size + b.pad_left * kPanel;
    if (b.expand.integers) {
      integers.a = w.integers + b.expand.input_bytes() * at;
      integers.c = c;
      (b.expand.sums ? kernels_->byte_product : kernels_->integer_product)(integers);
    } else {
      p.a = w.x + at;
      p.c = c;
      kernels_->product(p);
    }
  }
}

void Network::depthwise(Workspace& w, const Band& band, int panel, const float* ring, float* out,
                        float* sums) const {
  const Block& b = band.block;
  const int kernel = static_cast<int>(b.record.kernel_space);
  const size_t row_size = static_cast<size_t>(b.padded_width) * kPanel;
  const int stride = static_cast<int>(b.record.stride);
  const float* rows[2 * kRowsAtOnce + kMaxKernel];
  Depthwise d{rows, b.depthwise + static_cast<size_t>(panel) * kernel * kernel * kPanel,
              b.depthwise_bias + panel * kPanel, out, sums, 0, b.out.width, kernel, stride,
              static_cast<int>(b.record.expand) - panel * kPanel, header_.activation};
  for (int o = band.first; o < band.end; o += d.count) {
    d.count = std::min(kRowsAtOnce, band.end - o);
    const int top = o * stride - b.pad_top, bottom = top + (d.count - 1) * stride + kernel;
    // Where in the ring row `top` is, or would be if it is above the frame.
    int slot = (top % b.ring_rows + b.ring_rows) % b.ring_rows;
    for (int row = top; row < bottom; row++) {
      const bool inside = row >= 0 && row < b.in.height;
      rows[row - top] = inside ? ring + slot * row_size : w.zero_row;
      if (++slot == b.ring_rows) slot = 0;
    }
    kernels_->depthwise(d);
    d.out += static_cast<size_t>(d.count) * b.out.width * kPanel;
  }
}

// The band in frame k of the ring, the oldest first.
std::byte* Network::past(const Band& band, int k, int panel) const {
  const Block& b = band.block;
  const int kept = static_cast<int>(b.record.kernel_time) - 1;
  // Unsigned: a state's bytes may come from anywhere.
  const size_t slot = (static_cast<uint64_t>(band.item.count) + k) % kept;
  const size_t place = (slot * panels(b.record.expand) + panel) * b.out.places() +
                       static_cast<size_t>(band.first) * b.out.width;
  return reinterpret_cast<std::byte*>(part(band.item, b.ring_part)) +
         place * kPanel * parts_[b.ring_part].value_bytes();
}

// Pass 2: gates of all items, [panel][item][16].
void Network::squeeze(Workspace& w, const Block& b, const std::vector<Item>& items) const {
  const size_t count = items.size(), expand = b.record.expand;
  const float share = 1.f / static_cast<float>(b.out.places());
  const float* extra = header_.positional ? encoding(w, b, items) : nullptr;
  const auto put = [&](size_t i, size_t j, float value) {
    if (extra) value += b.record.position_scale * extra[i * b.reduce.inputs + j];
    w.pooled[(j / kPanel * count + i) * kPanel + j % kPanel] = value;
  };
  for (size_t i = 0; i < count; i++) {
    const float* sums = w.sums + i * padded(expand);
    float* total = b.sum_part < 0 ? nullptr : part(items[i], b.sum_part);
    const float over_time = 1 / items[i].weight;
    for (size_t j = 0; j < expand; j++) {
      const float mean = sums[j] * share;
      if (total) {
        total[j] = items[i].decay * total[j] + mean;
        put(i, j, total[j] * over_time);
      }
      if (header_.pooling != Pooling::over_time) put(i, total ? expand + j : j, mean);
    }
  }
  const int rows = static_cast<int>(count);
  multiply(w, b.reduce, pointwise(b.reduce, w.pooled, w.reduced, rows, header_.activation), rows);
  multiply(w, b.gate, pointwise(b.gate, w.reduced, w.gates, rows, header_.gating), rows);
}

// Sines of the even frequencies, then cosines of the odd ones; [item][width].
const float* Network::encoding(Workspace& w, const Block& b, const std::vector<Item>& items) const {
  float* values = w.encodings[b.encoding];
  if (w.encoded[b.encoding]) return values;
  w.encoded[b.encoding] = 1;
  const std::vector<double>& rates = rates_[b.encoding];
  const size_t width = b.reduce.inputs, half = rates.size();
  for (size_t i = 0; i < items.size(); i++)
    for (size_t j = 0; j < half; j++) {
      const double angle = static_cast<double>(items[i].position) * rates[j];
      values[i * width + j] = static_cast<float>(std::sin(angle));
      if (half + j < width) values[i * width + half + j] = static_cast<float>(std::cos(angle));
    }
  return values;
}

// Pass 3.
void Network::project(Workspace& w, const Block& b, const Layer& next, int count) const {
  const int places = static_cast<int>(b.out.places()), rows = count * places;
  const size_t item_size = static_cast<size_t>(places) * kPanel;
  const float* residual = w.x;
  if (b.record.skip) {
    const float* in = w.x;
    if (b.record.stride == 2) {
      const size_t from = b.in.places() * kPanel;
      w.team->run([&](int member) {
        const int all = static_cast<int>(panels(b.record.inputs)) * count;
        const Share s = share(all, 1, member, w.team->size());
        for (int i = s.begin; i < s.end; i++)
          kernels_->average_pool(w.x + i * from, b.in.height, b.in.width,
                                 b.skip.inputs - i / count * kPanel, w.pooled_x + i * item_size);
      });
      in = w.pooled_x;
    }
    multiply(w, b.skip, pointwise(b.skip, in, w.y, rows, Activation::none), count);
    residual = w.y;
  }
  Product p = pointwise(b.project, w.z, w.y, rows, Activation::none);
  p.residual = residual;
  Ahead& ahead = w.scratch[0].ahead;
  ahead.count = 0;
  next.add_to(ahead);
  p.ahead = &ahead;
  const bool gated = header_.pooling != Pooling::none;
  if (b.project.integers) {
    quantize(w, b.project, w.z, places, count, gated ? w.gates : nullptr, true);
    return multiply_integers(w, b.project, p, count);
  }
  if (!gated) return multiply(w, b.project, p, count);
  const int wide = static_cast<int>(panels(b.record.expand));
  if (places < b.project.outputs) {
    // The gate into z, all items in one product.
    w.team->run([&](int member) {
      const Share s = share(wide * count, 1, member, w.team->size());
      for (int i = s.begin; i < s.end; i++) {
        float* z = w.z + i * item_size;
        kernels_->scale_columns(z, w.gates + i * kPanel, z, places);
      }
    });
    return multiply(w, b.project, p, count);
  }
  // The gate into the weights, a product for each item.
  p.b = w.scaled;
  p.rows = places;
  for (int i = 0; i < count; i++) {
    float* gate = w.sums;
    for (int panel = 0; panel < wide; panel++)
      std::copy_n(w.gates + (panel * count + i) * kPanel, kPanel, gate + panel * kPanel);
    w.team->run([&](int member) {
      const Share s = share(static_cast<int>(panels(b.project.outputs)), 1, member, w.team->size());
      const size_t at = static_cast<size_t>(s.begin) * b.project.inputs * kPanel;
      kernels_->scale_rows(b.project.weight + at, gate, w.scaled + at, b.project.inputs, s.size());
    });
    p.a = w.z + i * item_size;
    p.residual = residual + i * item_size;
    p.c = w.y + i * item_size;
    multiply(w, b.project, p, 1);
  }
}

}  // namespace movinet
