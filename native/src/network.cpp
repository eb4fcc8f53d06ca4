// The step. network.h says how it goes.
#include "network.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.h"
#include "half.h"

namespace movinet {
namespace {

StateHeader& header_of(std::byte* state) { return *reinterpret_cast<StateHeader*>(state); }

// Which frame of a ring is the one `ahead` of the oldest; within the ring whatever a state's bytes
// are, for they may come from anywhere.
size_t slot(const std::byte* state, int ahead, int frames) {
  const auto& header = *reinterpret_cast<const StateHeader*>(state);
  return (static_cast<uint64_t>(header.frame_count) + ahead) % frames;
}

// visit(value of the state, plain value), from the oldest frame to the newest.
template <class Value, class State, class Plain, class Visit>
void for_values(const StatePart& p, State* state, Plain* values, Visit&& visit) {
  const size_t places = p.size.places(), frame = places * padded(p.channels);
  auto* data = reinterpret_cast<Value*>(state + p.offset * sizeof(float));
  for (int t = 0; t < std::max(p.frames, 1); t++) {
    auto* of_frame = data + (p.frames ? slot(state, t, p.frames) : 0) * frame;
    for (size_t i = 0; i < places; i++)
      for (int c = 0; c < p.channels; c++)
        visit(of_frame[(c / kPanel * places + i) * kPanel + c % kPanel], *values++);
  }
}

}  // namespace

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
  // One step at a time has the helpers; others go on alone.
  Team alone(1);
  std::unique_lock busy(team_mutex_, std::try_to_lock);
  w->team = busy ? &team_ : &alone;
  const size_t frame_size = size_t{3} * header_.height * header_.width *
                            (pixels == Pixels::bytes ? 1 : sizeof(float));
  std::vector<Item>& items = w->items;
  items.clear();
  for (int s = 0; s < streams; s++) {
    StateHeader& state = header_of(states[s]);
    for (int t = 0; t < count; t++) {
      const size_t index = static_cast<size_t>(t) * streams + s;
      const float decay = decays ? decays[s] : 1.f;
      // What a decayed sum has forgotten no longer tells the position: hold it where the model
      // was trained to be at most.
      const int64_t last = decay < 1 ? header_.trained_frames - 1 : INT64_MAX;
      state.pool_weight = decay * state.pool_weight + 1;
      const bool asked = logits && (every_frame || t + 1 == count);
      float* out = asked ? logits + (every_frame ? index : s) * header_.classes : nullptr;
      items.push_back({states[s], static_cast<const std::byte*>(frames) + index * frame_size,
                       decay, state.pool_weight, state.frame_count,
                       std::min(state.frame_count, last), out});
      state.frame_count = static_cast<int64_t>(static_cast<uint64_t>(state.frame_count) + 1);
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
  const size_t joint = items.size() > 1 ? joint_ : 0;
  if (joint == 0) run_stem(w, items, pixels);
  const size_t size = joint ? blocks_[joint - 1].out.places() * kPanel : 0;
  const size_t count = joint ? panels(blocks_[joint - 1].record.outputs) : 0;
  for (size_t i = 0; joint && i < items.size(); i++) {
    w.one.assign(1, items[i]);
    run_stem(w, w.one, pixels);
    run_blocks(w, w.one, 0, joint);
    for (size_t panel = 0; panel < count; panel++)
      std::copy_n(w.x + panel * size, size, w.joint + (panel * items.size() + i) * size);
  }
  if (joint) std::copy_n(w.joint, count * items.size() * size, w.x);
  run_blocks(w, items, joint, blocks_.size());
  classify(w, items);
}

void Network::run_blocks(Workspace& w, const std::vector<Item>& items, size_t first,
                         size_t end) const {
  std::fill(w.encoded.begin(), w.encoded.end(), 0);
  for (size_t i = first; i < end; i++) {
    const Block& b = blocks_[i];
    filter(w, b, items);
    if (header_.pooling != Pooling::none) squeeze(w, b, items);
    const Layer& next = i + 1 < blocks_.size() ? blocks_[i + 1].expand : head_;
    project(w, b, next, static_cast<int>(items.size()));
    std::swap(w.x, w.y);
  }
}

// One row of a frame as floats in [0, 1].
void Network::copy_row(const void* frame, int row, Pixels pixels, float* to) const {
  const size_t size = size_t{3} * header_.width, start = row * size;
  if (pixels == Pixels::floats)
    std::copy_n(static_cast<const float*>(frame) + start, size, to);
  else
    kernels_->bytes_to_floats(static_cast<const uint8_t*>(frame) + start, to, size);
}

void Network::run_stem(Workspace& w, const std::vector<Item>& items, Pixels pixels) const {
  const int height = header_.height, width = header_.width, pad = width % 2;  // SAME
  const size_t pitch = (static_cast<size_t>(width) + 3) * 3;
  const int places = static_cast<int>(stem_size_.places());
  const int count = static_cast<int>(items.size());
  w.team->run([&](int member) {
    float* rows = w.scratch[member].rows;
    Product p = pointwise(stem_, rows, nullptr, places, header_.activation);
    p.a_panel = pitch;
    p.c_panel = static_cast<size_t>(count) * places * kPanel;
    p.rows = stem_size_.width;
    std::fill_n(rows, (2 * kStemRows + 1) * pitch, 0.f);
    const Share s = share(count * stem_size_.height, 1, member, w.team->size());
    for (int i = s.begin, some; i < s.end; i += some) {
      const int item = i / stem_size_.height, first = i % stem_size_.height;
      some = std::min({kStemRows, stem_size_.height - first, s.end - i});
      for (int u = 0; u < 2 * some + 1; u++) {
        const int row = first * 2 - height % 2 + u;
        float* to = rows + u * pitch + pad * 3;
        if (row >= 0 && row < height)
          copy_row(items[item].frame, row, pixels, to);
        else
          std::fill_n(to, width * 3, 0.f);
      }
      for (int o = 0; o < some; o++) {
        p.a = rows + 2 * o * pitch;
        p.c = w.x + static_cast<size_t>(i + o) * stem_size_.width * kPanel;
        kernels_->stem(p);
      }
    }
  });
}

void Network::classify(Workspace& w, const std::vector<Item>& items) const {
  const size_t count = items.size(), places = blocks_.back().out.places();
  const int rows = static_cast<int>(count * places);
  const Product head = pointwise(head_, w.x, w.z, rows, header_.activation);
  multiply(w, head_, head, static_cast<int>(count));
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
  multiply(w, hidden_, pointwise(hidden_, w.embedding, w.hidden, wanted, header_.head_activation),
           wanted);
  multiply(w, classifier_, pointwise(classifier_, w.hidden, w.logits, wanted, Activation::none),
           wanted);
  size_t row = 0;
  for (const Item& item : items) {
    if (!item.logits) continue;
    for (size_t c = 0; c < header_.classes; c++)
      item.logits[c] = w.logits[(c / kPanel * asked + row) * kPanel + c % kPanel];
    row++;
  }
}

void Network::embedding(const std::byte* state, float* values) const {
  const float weight = reinterpret_cast<const StateHeader*>(state)->pool_weight;
  if (!(weight > 0))
    throw Error(Error::Kind::usage, "the stream has seen no frame: it has no embedding yet");
  read(state, head_part_, values);
  for (uint32_t c = 0; c < header_.head; c++) values[c] /= weight;
}

void Network::read(const std::byte* state, int index, float* values) const {
  const StatePart& p = parts_[index];
  if (p.halves)
    for_values<const uint16_t>(p, state, values, [](auto kept, float& v) { v = from_half(kept); });
  else
    for_values<const float>(p, state, values, [](float kept, float& v) { v = kept; });
}

void Network::write(std::byte* state, int index, const float* values) const {
  const StatePart& p = parts_[index];
  if (p.halves)
    for_values<uint16_t>(p, state, values, [](auto& kept, float v) {
      kept = to_half(std::clamp(v, -kMostHalf, kMostHalf));
    });
  else
    for_values<float>(p, state, values, [](float& kept, float v) { kept = v; });
}

}  // namespace movinet
