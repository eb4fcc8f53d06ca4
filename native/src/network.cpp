// The step. network.h says how it goes.
#include "network.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace movinet {
namespace {

// out = activation(in * layer), `rows` places in panels that are `rows` places long.
Product pointwise(const Pointwise& layer, const float* in, float* out, int rows, Activation a) {
  const size_t panel = static_cast<size_t>(rows) * kPanel;
  return {in, panel, layer.weight, layer.bias, nullptr, out, panel, rows, layer.inputs,
          layer.outputs, a};
}

StateHeader& header_of(std::byte* state) { return *reinterpret_cast<StateHeader*>(state); }

}  // namespace

void Network::step(std::byte* const* states, int streams, const float* frames, int count,
                   const float* decays, bool every_frame, float* logits) const {
  std::unique_ptr<Workspace> w;
  {
    std::lock_guard lock(mutex_);
    if (!workspaces_.empty()) {
      w = std::move(workspaces_.back());
      workspaces_.pop_back();
    }
  }
  if (!w) w = std::make_unique<Workspace>(*this);
  const size_t frame_size = size_t{3} * header_.height * header_.width;
  std::vector<Item> items;
  items.reserve(kGroup);
  for (int s = 0; s < streams; s++) {
    StateHeader& state = header_of(states[s]);
    for (int t = 0; t < count; t++, frames += frame_size) {
      const float decay = decays ? decays[s] : 1.f;
      // What a decayed sum has forgotten no longer tells the position: hold it where the model
      // was trained to be at most.
      const int64_t last = decay < 1 ? header_.trained_frames - 1 : INT64_MAX;
      state.pool_weight = decay * state.pool_weight + 1;
      const bool asked = every_frame || t + 1 == count;
      items.push_back({states[s], frames, decay, state.pool_weight, state.frame_count,
                       std::min(state.frame_count, last), asked ? logits : nullptr});
      state.frame_count++;
      if (asked) logits += header_.classes;
      if (items.size() == kGroup) {
        run(*w, items);
        items.clear();
      }
    }
  }
  if (!items.empty()) run(*w, items);
  std::lock_guard lock(mutex_);
  workspaces_.push_back(std::move(w));
}

float* Network::part(const Item& item, int index) const {
  return reinterpret_cast<float*>(item.state) + parts_[index].offset;
}

void Network::run(Workspace& w, const std::vector<Item>& items) const {
  std::fill(w.encoded.begin(), w.encoded.end(), 0);
  run_stem(w, items);
  for (const Block& b : blocks_) {
    run_block(w, b, items);
    std::swap(w.x, w.y);
  }
  classify(w, items);
}

void Network::run_stem(Workspace& w, const std::vector<Item>& items) const {
  const int height = header_.height, width = header_.width, pad = width % 2;  // SAME
  const size_t pitch = (static_cast<size_t>(width) + 3) * 3;
  const int places = static_cast<int>(stem_size_.places());
  Product p = pointwise(stem_, w.rows, nullptr, places, header_.activation);
  p.a_panel = pitch;
  p.c_panel = items.size() * places * kPanel;
  p.rows = stem_size_.width;
  std::fill_n(w.rows, 3 * pitch, 0.f);
  for (size_t i = 0; i < items.size(); i++)
    for (int o = 0; o < stem_size_.height; o++) {
      for (int u = 0; u < 3; u++) {
        const int row = o * 2 - height % 2 + u;
        float* to = w.rows + u * pitch + pad * 3;
        if (row >= 0 && row < height)
          std::copy_n(items[i].frame + static_cast<size_t>(row) * width * 3, width * 3, to);
        else
          std::fill_n(to, width * 3, 0.f);
      }
      p.c = w.x + (i * places + static_cast<size_t>(o) * stem_size_.width) * kPanel;
      kernels_->stem(p);
    }
}

void Network::run_block(Workspace& w, const Block& b, const std::vector<Item>& items) const {
  filter(w, b, items);
  if (header_.pooling != Pooling::none) squeeze(w, b, items);
  project(w, b, static_cast<int>(items.size()));
}

// Pass 1 of network.h.
void Network::filter(Workspace& w, const Block& b, const std::vector<Item>& items) const {
  const int count = static_cast<int>(items.size()), at_once = kernels_->panels_at_once;
  const int all = static_cast<int>(panels(b.record.expand));
  std::fill_n(w.sums, count * padded(b.record.expand), 0.f);
  // The columns of padding; products write between them.
  const int right = b.padded_width - b.in.width - b.pad_left;
  float* row = w.ring;
  for (int i = (b.whole ? at_once : all) * b.ring_rows; i > 0; i--) {
    std::fill_n(row, b.pad_left * kPanel, 0.f);
    row += static_cast<size_t>(b.padded_width) * kPanel;
    std::fill_n(row - right * kPanel, right * kPanel, 0.f);
  }
  if (b.whole) {
    for (int panel = 0; panel < all; panel += at_once)
      for (int i = 0; i < count; i++) filter_band(w, b, items[i], i, count, 0, panel);
    return;
  }
  for (int i = 0; i < count; i++)
    for (int first = 0; first < b.out.height; first += b.band)
      for (int panel = 0; panel < all; panel += at_once)
        filter_band(w, b, items[i], i, count, first, panel);
}

// Output rows from `first` on of some panels of an item: expand, depthwise, taps.
void Network::filter_band(Workspace& w, const Block& b, const Item& item, int index, int count,
                          int first, int panel) const {
  const int expand = b.record.expand, kernel = b.record.kernel_space, stride = b.record.stride;
  const int end = std::min(first + b.band, b.out.height), channel = panel * kPanel;
  const size_t row_size = static_cast<size_t>(b.padded_width) * kPanel;
  const size_t ring_panel = b.ring_rows * row_size;
  float* ring = w.ring + (b.whole ? 0 : panel * ring_panel);
  const auto rows_until = [&](int outputs) {  // input rows that so many output rows have needed
    return outputs ? std::min((outputs - 1) * stride - b.pad_top + kernel, b.in.height) : 0;
  };

  Product p = pointwise(b.expand, nullptr, nullptr, b.in.width, header_.activation);
  p.a_panel = count * b.in.places() * kPanel;
  p.b += static_cast<size_t>(channel) * p.inputs;
  p.bias += channel;
  p.c_panel = ring_panel;
  p.outputs = std::min(kernels_->panels_at_once * kPanel, expand - channel);
  for (int row = std::max(rows_until(first), 0); row < rows_until(end); row++) {
    p.a = w.x + (index * b.in.places() + static_cast<size_t>(row) * b.in.width) * kPanel;
    p.c = ring + row % b.ring_rows * row_size + b.pad_left * kPanel;
    kernels_->product(p);
  }

  const int stop = std::min(panel + kernels_->panels_at_once, static_cast<int>(panels(expand)));
  for (; panel < stop; panel++, ring += ring_panel) {
    const size_t places = b.out.places(), start = static_cast<size_t>(first) * b.out.width;
    float* z = w.z + ((static_cast<size_t>(panel) * count + index) * places + start) * kPanel;
    float* sums = w.sums + index * padded(expand) + panel * kPanel;
    float unused[kPanel] = {};
    const float* rows[kMaxKernel];
    DepthwiseRow d{rows, b.depthwise + static_cast<size_t>(panel) * kernel * kernel * kPanel,
                   b.depthwise_bias + panel * kPanel, b.taps ? w.fresh : z,
                   b.taps ? unused : sums, b.out.width, kernel, stride,
                   expand - panel * kPanel, header_.activation};
    for (int o = first; o < end; o++, d.out += static_cast<size_t>(b.out.width) * kPanel) {
      for (int u = 0; u < kernel; u++) {
        const int row = o * stride - b.pad_top + u;
        const bool inside = row >= 0 && row < b.in.height;
        rows[u] = inside ? ring + row % b.ring_rows * row_size : w.zero_row;
      }
      kernels_->depthwise(d);
    }
    if (!b.taps) continue;
    const int kept = b.record.kernel_time - 1;
    float* past[kMaxKernel];
    for (int k = 0; k < kept; k++) {
      const size_t slot = static_cast<size_t>((item.count + k) % kept);
      past[k] = part(item, b.ring_part) +
                ((slot * panels(expand) + panel) * places + start) * kPanel;
    }
    kernels_->taps({w.fresh, past,
                    b.taps + static_cast<size_t>(panel) * b.record.kernel_time * kPanel,
                    b.taps_bias + panel * kPanel, z, sums, (end - first) * b.out.width, kept + 1,
                    d.channels, header_.activation});
  }
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
  kernels_->product(pointwise(b.reduce, w.pooled, w.reduced, rows, header_.activation));
  kernels_->product(pointwise(b.gate, w.reduced, w.gates, rows, header_.gating));
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
void Network::project(Workspace& w, const Block& b, int count) const {
  const int places = static_cast<int>(b.out.places()), rows = count * places;
  const size_t item_size = static_cast<size_t>(places) * kPanel;
  const float* residual = w.x;
  if (b.record.skip) {
    const float* in = w.x;
    if (b.record.stride == 2) {
      const size_t from = b.in.places() * kPanel;
      for (size_t i = 0; i < panels(b.record.inputs) * count; i++)
        kernels_->average_pool(w.x + i * from, b.in.height, b.in.width, w.pooled_x + i * item_size);
      in = w.pooled_x;
    }
    kernels_->product(pointwise(b.skip, in, w.y, rows, Activation::none));
    residual = w.y;
  }
  Product p = pointwise(b.project, w.z, w.y, rows, Activation::none);
  p.residual = residual;
  const bool gated = header_.pooling != Pooling::none;
  const size_t gate_panel = static_cast<size_t>(count) * kPanel;
  if (!gated || places < b.project.outputs) {
    // The gate into z, all items in one product.
    for (size_t panel = 0; gated && panel < panels(b.record.expand); panel++)
      for (int i = 0; i < count; i++) {
        float* z = w.z + panel * p.a_panel + i * item_size;
        kernels_->scale_columns(z, w.gates + panel * gate_panel + i * kPanel, z, places);
      }
    return kernels_->product(p);
  }
  // The gate into the weights, a product for each item.
  p.b = w.scaled;
  p.rows = places;
  for (int i = 0; i < count; i++) {
    float* gate = w.sums;
    for (size_t panel = 0; panel < panels(b.record.expand); panel++)
      std::copy_n(w.gates + panel * gate_panel + i * kPanel, kPanel, gate + panel * kPanel);
    kernels_->scale_rows(b.project.weight, gate, w.scaled, b.project.inputs,
                         panels(b.project.outputs));
    p.a = w.z + i * item_size;
    p.residual = residual + i * item_size;
    p.c = w.y + i * item_size;
    kernels_->product(p);
  }
}

void Network::classify(Workspace& w, const std::vector<Item>& items) const {
  const size_t count = items.size(), places = blocks_.back().out.places();
  const int rows = static_cast<int>(count * places);
  kernels_->product(pointwise(head_, w.x, w.z, rows, header_.activation));
  const auto asked = std::count_if(items.begin(), items.end(), [](auto& i) { return i.logits; });
  const float share = 1.f / static_cast<float>(places);
  for (size_t panel = 0; panel < panels(head_.outputs); panel++) {
    float* out = w.embedding + panel * asked * kPanel;
    for (size_t i = 0; i < count; i++) {
      float sums[kPanel] = {};
      kernels_->sum_rows(w.z + (panel * count + i) * places * kPanel, sums, places);
      float* total = part(items[i], head_part_) + panel * kPanel;
      for (int j = 0; j < kPanel; j++) total[j] = items[i].decay * total[j] + sums[j] * share;
      if (!items[i].logits) continue;
      for (int j = 0; j < kPanel; j++) *out++ = total[j] / items[i].weight;
    }
  }
  if (!asked) return;
  const int wanted = static_cast<int>(asked);
  kernels_->product(pointwise(hidden_, w.embedding, w.hidden, wanted, header_.head_activation));
  kernels_->product(pointwise(classifier_, w.hidden, w.logits, wanted, Activation::none));
  size_t row = 0;
  for (const Item& item : items) {
    if (!item.logits) continue;
    for (size_t c = 0; c < header_.classes; c++)
      item.logits[c] = w.logits[(c / kPanel * asked + row) * kPanel + c % kPanel];
    row++;
  }
}

void Network::read(const std::byte* state, int index, float* values) const {
  const StatePart& p = parts_[index];
  const float* data = reinterpret_cast<const float*>(state) + p.offset;
  const size_t places = p.size.places(), frame = places * padded(p.channels);
  const int64_t seen = reinterpret_cast<const StateHeader*>(state)->frame_count;
  for (int t = 0; t < std::max(p.frames, 1); t++) {
    const float* from = data + (p.frames ? (seen + t) % p.frames : 0) * frame;
    for (size_t i = 0; i < places; i++)
      for (int c = 0; c < p.channels; c++)
        *values++ = from[(c / kPanel * places + i) * kPanel + c % kPanel];
  }
}

void Network::write(std::byte* state, int index, const float* values) const {
  const StatePart& p = parts_[index];
  float* data = reinterpret_cast<float*>(state) + p.offset;
  const size_t places = p.size.places(), frame = places * padded(p.channels);
  const int64_t seen = reinterpret_cast<const StateHeader*>(state)->frame_count;
  for (int t = 0; t < std::max(p.frames, 1); t++) {
    float* to = data + (p.frames ? (seen + t) % p.frames : 0) * frame;
    for (size_t i = 0; i < places; i++)
      for (int c = 0; c < p.channels; c++)
        to[(c / kPanel * places + i) * kPanel + c % kPanel] = *values++;
  }
}

}  // namespace movinet
