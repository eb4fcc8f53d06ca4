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

Dense dense(const DenseLayer& layer, const float* in, float* out, int rows, Activation a) {
  return {in, layer.weight, layer.scale, layer.bias, out, rows, layer.inputs, layer.outputs, a};
}

// At most so much is fetched ahead; more would push out of the second cache what is in use.
constexpr size_t kAheadBytes = 192 * 1024;

StateHeader& header_of(std::byte* state) { return *reinterpret_cast<StateHeader*>(state); }

}  // namespace

void Block::add_to(Ahead& ahead) const {
  ahead.count = 0;
  size_t left = kAheadBytes;
  const auto add = [&](const void* at, size_t bytes) {
    const size_t taken = std::min(bytes, left);
    ahead.add(at, taken);
    left -= taken;
  };
  for (const DenseLayer* layer : {&reduce, &gate}) {
    const size_t weights = layer->inputs * padded(layer->outputs);
    if (layer->exact) add(layer->exact, sizeof(float) * weights);
    else add(layer->weight, sizeof(int16_t) * weights);
  }
  if (project.weight) add(project.weight, sizeof(float) * project.inputs * padded(project.outputs));
}

void Network::step(std::byte* const* states, int streams, const void* frames, Pixels pixels,
                   int count, const float* decays, bool every_frame, float* logits) const {
  std::unique_ptr<Workspace> w;
  {
    std::lock_guard lock(mutex_);
    if (!workspaces_.empty()) {
      w = std::move(workspaces_.back());
      workspaces_.pop_back();
    }
  }
  if (!w) w = std::make_unique<Workspace>(*this);
  const size_t frame_size = size_t{3} * header_.height * header_.width *
                            (pixels == Pixels::bytes ? 1 : sizeof(float));
  std::vector<Item> items;
  items.reserve(kGroup);
  for (int s = 0; s < streams; s++) {
    StateHeader& state = header_of(states[s]);
    for (int t = 0; t < count; t++) {
      const size_t index = static_cast<size_t>(t) * streams + s;
      const float decay = decays ? decays[s] : 1.f;
      // What a decayed sum has forgotten no longer tells the position: hold it where the model
      // was trained to be at most.
      const int64_t last = decay < 1 ? header_.trained_frames - 1 : INT64_MAX;
      state.pool_weight = decay * state.pool_weight + 1;
      const bool asked = every_frame || t + 1 == count;
      float* out = logits + (every_frame ? index : s) * header_.classes;
      items.push_back({states[s], static_cast<const std::byte*>(frames) + index * frame_size,
                       decay, state.pool_weight, state.frame_count,
                       std::min(state.frame_count, last), asked ? out : nullptr});
      state.frame_count++;
      if (items.size() == kGroup) {
        run(*w, items, pixels);
        items.clear();
      }
    }
  }
  if (!items.empty()) run(*w, items, pixels);
  std::lock_guard lock(mutex_);
  workspaces_.push_back(std::move(w));
}

float* Network::part(const Item& item, int index) const {
  return reinterpret_cast<float*>(item.state) + parts_[index].offset;
}

void Network::run(Workspace& w, const std::vector<Item>& items, Pixels pixels) const {
  std::fill(w.encoded.begin(), w.encoded.end(), 0);
  run_stem(w, items, pixels);
  for (const Block& b : blocks_) {
    filter(w, b, items);
    if (header_.pooling != Pooling::none) squeeze(w, b, items);
    const bool last = &b == &blocks_.back();
    project(w, b, last ? head_ : (&b + 1)->expand, static_cast<int>(items.size()));
    std::swap(w.x, w.y);
  }
  classify(w, items);
}

// One row of a frame as floats in [0, 1].
void Network::copy_row(const void* frame, int row, Pixels pixels, float* to) const {
  const size_t size = size_t{3} * header_.width, start = row * size;
  if (pixels == Pixels::floats) {
    std::copy_n(static_cast<const float*>(frame) + start, size, to);
    return;
  }
  const uint8_t* from = static_cast<const uint8_t*>(frame) + start;
  for (size_t i = 0; i < size; i++) to[i] = from[i] * (1 / 255.f);
}

void Network::run_stem(Workspace& w, const std::vector<Item>& items, Pixels pixels) const {
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
          copy_row(items[i].frame, row, pixels, to);
        else
          std::fill_n(to, width * 3, 0.f);
      }
      p.c = w.x + (i * places + static_cast<size_t>(o) * stem_size_.width) * kPanel;
      kernels_->stem(p);
    }
}

// Pass 1 of network.h.
void Network::filter(Workspace& w, const Block& b, const std::vector<Item>& items) const {
  const int count = static_cast<int>(items.size()), at_once = kernels_->panels_at_once;
  b.add_to(w.ahead);
  if (b.expand.integers)
    quantize(w, b.expand, w.x, static_cast<int>(b.in.places()), count, nullptr);
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
      for (int i = 0; i < count; i++)
        filter_band(w, {b, items[i], i, count, 0, b.out.height}, panel);
    return;
  }
  for (int i = 0; i < count; i++)
    for (int first = 0; first < b.out.height; first += b.band)
      for (int panel = 0; panel < all; panel += at_once)
        filter_band(w, {b, items[i], i, count, first, std::min(first + b.band, b.out.height)},
                    panel);
}

// Output rows of some panels of an item: expand, depthwise, taps.
void Network::filter_band(Workspace& w, const Band& band, int panel) const {
  const Block& b = band.block;
  const int all = static_cast<int>(panels(b.record.expand));
  const int stop = std::min(panel + kernels_->panels_at_once, all);
  // What the taps and later passes need comes into the cache while `expand` computes.
  const int later = w.ahead.count, all_later = w.ahead.lines();
  const int share = all_later / (all - panel);
  const size_t bytes = band.places() * kPanel * sizeof(float);
  for (int i = panel; i < stop; i++)
    for (int k = 0; b.taps && k + 1 < static_cast<int>(b.record.kernel_time); k++)
      w.ahead.add(past(band, k, i), bytes);
  const size_t ring_panel = static_cast<size_t>(b.ring_rows) * b.padded_width * kPanel;
  float* ring = w.ring + (b.whole ? 0 : panel * ring_panel);
  expand(w, band, panel, ring, w.ahead.lines() - all_later + share);
  w.ahead.forget_all_but(later);
  for (; panel < stop; panel++, ring += ring_panel) {
    float* z = w.z + ((static_cast<size_t>(panel) * band.count + band.index) * b.out.places() +
                      static_cast<size_t>(band.first) * b.out.width) * kPanel;
    float* sums = w.sums + band.index * padded(b.record.expand) + panel * kPanel;
    if (!b.taps) {
      depthwise(w, band, panel, ring, z, sums);
      continue;
    }
    float unused[kPanel] = {};
    depthwise(w, band, panel, ring, w.fresh, unused);
    float* frames[kMaxKernel];
    const int kernel = static_cast<int>(b.record.kernel_time);
    for (int k = 0; k + 1 < kernel; k++) frames[k] = past(band, k, panel);
    kernels_->taps({w.fresh, frames, b.taps + static_cast<size_t>(panel) * kernel * kPanel,
                    b.taps_bias + panel * kPanel, z, sums, static_cast<int>(band.places()), kernel,
                    static_cast<int>(b.record.expand) - panel * kPanel, header_.activation});
  }
}

// The input rows that the band needs and no earlier band has needed.
void Network::expand(Workspace& w, const Band& band, int panel, float* ring, int lines) const {
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
  p.ahead = &w.ahead;
  p.lines = lines / std::max(end - begin, 1);
  for (int row = begin; row < end; row++) {
    const size_t at = (band.index * b.in.places() + static_cast<size_t>(row) * b.in.width) * kPanel;
    p.a = w.x + at;
    p.c = ring + row % b.ring_rows * row_size + b.pad_left * kPanel;
    if (b.expand.integers)
      kernels_->integer_product(
          {w.integers + at, p.a_panel,
           b.expand.integers + static_cast<size_t>(channel) * ((p.inputs + 1) / 2 * 2),
           b.expand.scale + channel, w.a_scales[band.index], p.bias, nullptr, p.c, p.c_panel,
           p.rows, p.inputs, p.outputs, p.activation});
    else
      kernels_->product(p);
  }
}

void Network::depthwise(Workspace& w, const Band& band, int panel, const float* ring, float* out,
                        float* sums) const {
  const Block& b = band.block;
  const int kernel = static_cast<int>(b.record.kernel_space);
  const size_t row_size = static_cast<size_t>(b.padded_width) * kPanel;
  const float* rows[kMaxKernel];
  DepthwiseRow d{rows, b.depthwise + static_cast<size_t>(panel) * kernel * kernel * kPanel,
                 b.depthwise_bias + panel * kPanel, out, sums, b.out.width, kernel,
                 static_cast<int>(b.record.stride),
                 static_cast<int>(b.record.expand) - panel * kPanel, header_.activation};
  for (int o = band.first; o < band.end; o++, d.out += static_cast<size_t>(b.out.width) * kPanel) {
    for (int u = 0; u < kernel; u++) {
      const int row = o * d.stride - b.pad_top + u;
      const bool inside = row >= 0 && row < b.in.height;
      rows[u] = inside ? ring + row % b.ring_rows * row_size : w.zero_row;
    }
    kernels_->depthwise(d);
  }
}

// The band in frame k of the ring, the oldest first.
float* Network::past(const Band& band, int k, int panel) const {
  const Block& b = band.block;
  const int kept = static_cast<int>(b.record.kernel_time) - 1;
  const size_t slot = static_cast<size_t>((band.item.count + k) % kept);
  return part(band.item, b.ring_part) +
         ((slot * panels(b.record.expand) + panel) * b.out.places() +
          static_cast<size_t>(band.first) * b.out.width) * kPanel;
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
  apply(b.reduce, w.pooled, w.reduced, rows, header_.activation);
  apply(b.gate, w.reduced, w.gates, rows, header_.gating);
}

void Network::apply(const DenseLayer& layer, const float* in, float* out, int rows,
                    Activation a) const {
  if (layer.exact)
    kernels_->product(
        pointwise({layer.inputs, layer.outputs, layer.exact, layer.bias}, in, out, rows, a));
  else
    kernels_->dense(dense(layer, in, out, rows, a));
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
void Network::project(Workspace& w, const Block& b, const Pointwise& next, int count) const {
  const int places = static_cast<int>(b.out.places()), rows = count * places;
  const size_t item_size = static_cast<size_t>(places) * kPanel;
  const float* residual = w.x;
  if (b.record.skip) {
    const float* in = w.x;
    if (b.record.stride == 2) {
      const size_t from = b.in.places() * kPanel;
      for (size_t i = 0; i < panels(b.record.inputs) * count; i++) {
        const int channels = b.skip.inputs - static_cast<int>(i / count) * kPanel;
        kernels_->average_pool(w.x + i * from, b.in.height, b.in.width, channels,
                               w.pooled_x + i * item_size);
      }
      in = w.pooled_x;
    }
    kernels_->product(pointwise(b.skip, in, w.y, rows, Activation::none));
    residual = w.y;
  }
  Product p = pointwise(b.project, w.z, w.y, rows, Activation::none);
  p.residual = residual;
  w.ahead.count = 0;
  if (next.weight) w.ahead.add(next.weight, std::min(kAheadBytes, sizeof(float) * next.inputs * padded(next.outputs)));
  p.ahead = &w.ahead;
  p.lines = w.ahead.lines();
  const bool gated = header_.pooling != Pooling::none;
  if (b.project.integers) return multiply(w, b.project, p, count, gated ? w.gates : nullptr);
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

// The integers of what goes into a layer, multiplied by the gates; one scale for each item.
void Network::quantize(Workspace& w, const Pointwise& layer, const float* in, int places, int count,
                       const float* gates) const {
  // As many bits as the sums of 32 bits have room for.
  const float limit = std::min(32767.f, std::floor(2147483647.f / (127.f * layer.inputs)) - 1);
  const size_t all = panels(layer.inputs), size = static_cast<size_t>(places) * kPanel;
  float scale[kPanel], found[kPanel];
  for (int i = 0; i < count; i++) {
    const auto gate = [&](size_t panel, int lane) {
      return gates ? gates[(panel * count + i) * kPanel + lane] : 1.f;
    };
    float most = 0;
    for (size_t panel = 0; panel < all; panel++) {
      for (int j = 0; j < kPanel; j++) scale[j] = gate(panel, j);
      kernels_->largest(in + (panel * count + i) * size, scale, found, places);
      const int lanes = std::min<int>(kPanel, layer.inputs - static_cast<int>(panel) * kPanel);
      for (int j = 0; j < lanes; j++) most = std::max(most, found[j]);
    }
    w.a_scales[i] = most / limit;
    for (size_t panel = 0; panel < all; panel++) {
      for (int j = 0; j < kPanel; j++) scale[j] = most > 0 ? gate(panel, j) * (limit / most) : 0.f;
      const size_t at = (panel * count + i) * size;
      kernels_->quantize(in + at, scale, w.integers + at, places);
    }
  }
}

// A product of all items in integers.
void Network::multiply(Workspace& w, const Pointwise& layer, Product p, int count,
                       const float* gates) const {
  const int places = p.rows / count;
  quantize(w, layer, p.a, places, count, gates);
  for (int i = 0; i < count; i++) {
    const size_t at = static_cast<size_t>(i) * places * kPanel;
    kernels_->integer_product({w.integers + at, p.a_panel, layer.integers, layer.scale,
                               w.a_scales[i], p.bias, p.residual ? p.residual + at : nullptr,
                               p.c + at, p.c_panel, places, p.inputs, p.outputs, p.activation});
  }
}

void Network::classify(Workspace& w, const std::vector<Item>& items) const {
  const size_t count = items.size(), places = blocks_.back().out.places();
  const int rows = static_cast<int>(count * places);
  const Product head = pointwise(head_, w.x, w.z, rows, header_.activation);
  if (head_.integers)
    multiply(w, head_, head, static_cast<int>(count), nullptr);
  else
    kernels_->product(head);
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
  apply(hidden_, w.embedding, w.hidden, wanted, header_.head_activation);
  apply(classifier_, w.hidden, w.logits, wanted, Activation::none);
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
