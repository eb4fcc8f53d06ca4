// From a file to packed weights, a plan for each block, and the layout of the state.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.h"
#include "network.h"

namespace movinet {
namespace {

// Floats that one panel's rows may take to stay in the first cache, and all panels' in the second.
constexpr size_t kFirstCache = 6 * 1024, kSecondCache = 48 * 1024;
constexpr int kMaxThreads = 64;
// A file that asks for more memory than this for one group of frames is not believed.
constexpr double kMaxFloats = 4e9;
// Weights up to this are as good as zero.
constexpr float kNothing = 1e-30f;

int same_padding(int size, int kernel, int stride) {
  return std::max(((size + stride - 1) / stride - 1) * stride + kernel - size, 0);
}

int checked_threads(int threads) {
  if (threads < 1 || threads > kMaxThreads)
    throw Error(Error::Kind::usage, "a step runs in 1 to " + std::to_string(kMaxThreads) +
                                        " threads, not in " + std::to_string(threads));
  return threads;
}

}  // namespace

Network::Network(File file, const char* isa, int threads)
    : kernels_(find_kernels(isa)), team_(checked_threads(threads)) {
  if (!kernels_) {
    std::string names;
    for (const Kernels* const* k = available_kernels(); *k; k++)
      names += std::string(names.empty() ? "" : ", ") + (*k)->name;
    throw Error(Error::Kind::usage, std::string("no kernels '") + isa + "' here; there are: " + names);
  }
  header_ = file.header();
  manifest_ = file.manifest();
  Size size = Size{static_cast<int>(header_.height), static_cast<int>(header_.width)}.halved();
  stem_size_ = size;
  stem_ = pack_floats(file, 27, static_cast<int>(header_.stem));
  uint32_t channels = header_.stem;
  for (const BlockRecord& record : file.blocks()) {
    load_block(file, record, size);
    size = blocks_.back().out;
    channels = record.outputs;
  }
  head_ = pack(file, static_cast<int>(channels), static_cast<int>(header_.head), true);
  hidden_ = pack_dense(file, head_.outputs, static_cast<int>(header_.hidden));
  classifier_ = pack_dense(file, hidden_.outputs, static_cast<int>(header_.classes));
  file.check_end();
  head_part_ = add_part(0, head_.outputs, {1, 1});
  check_memory(file.name());
  joint_ = first_joint_block();
  workspaces_.push_back(std::make_unique<Workspace>(*this));
}

Layer Network::pack(File& file, int inputs, int outputs, bool many_rows) {
  if (header_.precision == Precision::int8) return pack_integers(file, inputs, outputs, many_rows);
  if (header_.precision == Precision::float16 && !many_rows) return pack_dense(file, inputs, outputs);
  return pack_floats(file, inputs, outputs);
}

// (inputs, outputs) and (outputs) to panels of outputs, the weights of the padding zero.
Layer Network::pack_floats(File& file, int inputs, int outputs) {
  const size_t k = inputs, n = outputs;
  Layer layer{inputs, outputs};
  layer.weight = pack_vectors(file.next_weights(k * n), inputs, outputs);
  layer.bias = pack_vectors(file.next(outputs), 1, outputs);
  return layer;
}

// From int8 and a scale for each output to groups of inputs: four that are multiplied by bytes, where
// the arithmetic is the work, and the machine has an instruction for it; else two.
Layer Network::pack_integers(File& file, int inputs, int outputs, bool many_rows) {
  const size_t k = inputs, n = outputs;
  const bool bytes = many_rows && kernels_->byte_product;
  const size_t of = bytes ? 4 : 2, groups = (k + of - 1) / of;
  const int8_t* weight = file.next_int8(k * n);
  auto* packed = reinterpret_cast<int8_t*>(arena_.floats(of * groups * padded(n) / 4));
  auto* sums = reinterpret_cast<int32_t*>(bytes ? arena_.floats(padded(n)) : nullptr);
  for (size_t i = 0; i < k; i++)
    for (size_t j = 0; j < n; j++) {
      packed[((j / kPanel * groups + i / of) * kPanel + j % kPanel) * of + i % of] =
          weight[i * n + j];
      if (bytes) sums[j] += weight[i * n + j];
    }
  Layer layer{inputs, outputs};
  layer.integers = packed;
  layer.sums = sums;
  layer.scale = pack_vectors(file.next(outputs), 1, outputs);
  layer.bias = pack_vectors(file.next(outputs), 1, outputs);
  return layer;
}

// Unless the file is of int8, as 16-bit integers, in runs of inputs that share a scale. In float32
// for the end of the network alone: what squeeze-excitation errs by grows from block to block.
Layer Network::pack_dense(File& file, int inputs, int outputs) {
  if (header_.precision == Precision::int8) return pack_integers(file, inputs, outputs, false);
  const size_t k = inputs, n = outputs, runs = (k + kRun - 1) / kRun;
  const float* weight = file.next_weights(k * n);
  auto* packed = reinterpret_cast<int16_t*>(arena_.floats((k * padded(n) + 1) / 2));
  float* scale = arena_.floats(runs * padded(n));
  for (size_t j = 0; j < n; j++)
    for (size_t run = 0; run < runs; run++) {
      const size_t start = run * kRun, end = std::min(start + kRun, k), lane = j % kPanel;
      float most = 0;
      // A weight that is no number makes the scale, and so the output, none.
      for (size_t i = start; i < end; i++)
        most = most < std::fabs(weight[i * n + j]) || std::isnan(weight[i * n + j])
                   ? std::fabs(weight[i * n + j])
                   : most;
      const float unit = most < kNothing ? 0 : most / 32767;  // denormal ones would be slow
      scale[(j / kPanel * runs + run) * kPanel + lane] = unit;
      for (size_t i = start; i < end && unit > 0 && std::isfinite(unit); i++)
        packed[(j / kPanel * k + i) * kPanel + lane] =
            static_cast<int16_t>(std::lrint(weight[i * n + j] / unit));
    }
  Layer layer{inputs, outputs};
  layer.bias = pack_vectors(file.next(outputs), 1, outputs);
  layer.runs = packed;
  layer.scale = scale;
  return layer;
}

// (rows, channels) to [panel][rows][16].
const float* Network::pack_vectors(const float* values, int rows, int channels) {
  const size_t k = rows, n = channels;
  float* packed = arena_.floats(k * padded(n));
  for (size_t start = 0; start < n; start += kPanel)
    for (size_t i = 0; i < k; i++)
      std::copy_n(values + i * n + start, std::min<size_t>(kPanel, n - start),
                  packed + start * k + i * kPanel);
  return packed;
}

void Network::load_block(File& file, const BlockRecord& record, Size size) {
  Block b{};
  b.record = record;
  const int expand = record.expand, kernel = record.kernel_space, stride = record.stride;
  const Pooling pooling = header_.pooling;
  b.in = size;
  b.out = stride == 2 ? size.halved() : size;
  b.expand = pack(file, record.inputs, expand, true);
  const auto vectors = [&](int rows) {
    return pack_vectors(file.next_weights(size_t(rows) * expand), rows, expand);
  };
  b.depthwise = vectors(kernel * kernel);
  b.depthwise_bias = pack_vectors(file.next(expand), 1, expand);
  b.sum_part = b.ring_part = -1;
  if (record.kernel_time > 1) {
    b.taps = vectors(record.kernel_time);
    b.taps_bias = pack_vectors(file.next(expand), 1, expand);
    b.ring_part = add_part(record.kernel_time - 1, expand, b.out);
  }
  if (pooling != Pooling::none) {
    const int pooled = pooling == Pooling::both ? 2 * expand : expand;
    b.reduce = pack(file, pooled, record.reduced, false);
    b.gate = pack(file, record.reduced, expand, false);
    if (pooling != Pooling::over_space) b.sum_part = add_part(0, expand, {1, 1});
    const auto known = std::find(encoding_widths_.begin(), encoding_widths_.end(), pooled);
    b.encoding = static_cast<int>(known - encoding_widths_.begin());
    if (header_.positional && known == encoding_widths_.end()) {
      encoding_widths_.push_back(pooled);
      rates_.emplace_back();
      for (int i = 0; i < (pooled + 1) / 2; i++)
        rates_.back().push_back(std::pow(10000.0, -2.0 * i / pooled));
    }
  }
  b.project = pack(file, expand, record.outputs, true);
  if (record.skip) b.skip = pack_floats(file, record.inputs, record.outputs);
  plan_band(b);
  blocks_.push_back(b);
}

void Network::plan_band(Block& b) const {
  const int kernel = b.record.kernel_space, stride = b.record.stride;
  const int down = same_padding(b.in.height, kernel, stride);
  const int across = same_padding(b.in.width, kernel, stride);
  b.pad_top = down / 2;
  b.pad_left = across / 2;
  b.padded_width = b.in.width + across;
  const size_t row = static_cast<size_t>(b.padded_width) * kPanel;
  b.whole = b.in.height * row <= kSecondCache / 4;
  if (b.whole) {
    b.band = b.out.height;
    b.ring_rows = b.in.height;
    return;
  }
  const size_t rows = std::min(kFirstCache / row, kSecondCache / (row * panels(b.record.expand)));
  b.band = std::max<int>((static_cast<int>(rows) - kernel) / stride + 1, 1);
  b.band = std::min(b.band, b.out.height);
  b.ring_rows = std::min((b.band - 1) * stride + kernel, b.in.height);
}

int Network::add_part(int frames, int channels, Size size) {
  StatePart part{state_floats_, frames, channels, size};
  part.halves = frames && header_.precision != Precision::float32;
  parts_.push_back(part);
  const size_t values = std::max(frames, 1) * size.places() * padded(channels);
  state_floats_ += values * part.value_bytes() / sizeof(float);
  return static_cast<int>(parts_.size()) - 1;
}

// From there on, either what a block makes of a whole group stays in the second cache, or reading
// that again costs less than reading the weights for every item.
size_t Network::first_joint_block() const {
  for (size_t i = blocks_.size(); i > 0; i--) {
    const Block& b = blocks_[i - 1];
    const size_t z = b.out.places() * padded(b.record.expand) * sizeof(float);
    size_t weights = 0;
    for (const Layer* layer : {&b.expand, &b.reduce, &b.gate, &b.project})
      weights += size_t(layer->inputs) * layer->outputs * (layer->integers ? 1 : sizeof(float));
    if (kGroup * z > second_cache() / 2 && weights < 3 * z) return i;
  }
  return 0;
}

void Network::check_memory(const std::string& name) const {
  double floats = static_cast<double>(state_floats_), of_member = 0;
  double x = static_cast<double>(stem_size_.places()) * padded(header_.stem), z = 0;
  for (const Block& b : blocks_) {
    const double places = static_cast<double>(b.out.places());
    x = std::max({x, places * padded(b.record.outputs), places * padded(b.record.inputs)});
    z = std::max(z, places * padded(b.record.expand));
    const int panels_kept = b.whole ? 2 * kernels_->panels_at_once
                                    : static_cast<int>(panels(b.record.expand)) + 2;
    of_member = std::max(of_member, double{kPanel} * panels_kept * b.ring_rows * b.padded_width);
  }
  // x, y, what is pooled of x, and x of the joint blocks; z, and its integers; rows of the frame.
  floats += kGroup * (4 * x + 1.5 * z) + team_.size() * (of_member + 6.0 * kStemRows * header_.width);
  if (floats > kMaxFloats)
    throw Error(Error::Kind::file, name + ": its images are too large for this engine: a step would "
                                          "need more than 16 GB; export it for a smaller image "
                                          "size");
}

Workspace::Workspace(const Network& n) {
  const auto largest = [&](auto size) {
    size_t most = 0;
    for (const Block& b : n.blocks_) most = std::max<size_t>(most, size(b));
    return most;
  };
  const size_t group = kGroup, at_once = n.kernels_->panels_at_once;
  const size_t stem = n.stem_size_.places() * padded(n.header_.stem);
  const size_t x_size = group * std::max(stem, largest([](const Block& b) {
    return b.out.places() * padded(b.record.outputs);
  }));
  const size_t last = n.blocks_.back().out.places();
  const size_t ring = largest([&](const Block& b) {
    const size_t count = b.whole ? at_once : panels(b.record.expand) + at_once;
    return count * b.ring_rows * b.padded_width * kPanel;
  });
  const size_t fresh = largest([](const Block& b) {
    return size_t(b.band) * b.out.width * kPanel;
  });
  for (int member = 0; member < n.team_.size(); member++) {
    Scratch s{};
    s.rows = arena.floats((2 * kStemRows + 1) * (n.header_.width + 3) * size_t{3});
    s.ring = arena.floats(ring);
    s.fresh = arena.floats(fresh);
    scratch.push_back(s);
  }
  if (n.joint_) {
    const Block& last_alone = n.blocks_[n.joint_ - 1];
    joint = arena.floats(group * last_alone.out.places() * padded(last_alone.record.outputs));
  }
  zero_row = arena.floats(largest([](const Block& b) { return size_t(b.padded_width) * kPanel; }));
  x = arena.floats(x_size);
  y = arena.floats(x_size);
  z = arena.floats(std::max(
      group * last * padded(n.header_.head),
      largest([&](const Block& b) { return group * b.out.places() * padded(b.record.expand); })));
  pooled_x = arena.floats(largest([&](const Block& b) {
    return group * b.out.places() * padded(b.record.inputs);
  }));
  const size_t wide = largest([](const Block& b) {
    return std::max<size_t>(b.out.places(), 2) * padded(b.record.expand);
  });
  const size_t reduced_size = group * largest([](const Block& b) {
    return padded(b.record.reduced);
  });
  integers = reinterpret_cast<std::byte*>(arena.floats(
      std::max({x_size, group * last * padded(n.header_.head), group * padded(n.header_.hidden),
                group * wide, reduced_size}) / 2));
  scaled = arena.floats(largest([](const Block& b) {
    return size_t(b.record.expand) * padded(b.record.outputs);
  }));
  const size_t expand = largest([](const Block& b) { return padded(b.record.expand); });
  sums = arena.floats(group * std::max(expand, padded(n.header_.head)));
  least = arena.floats(group * expand);
  greatest = arena.floats(group * expand);
  pooled = arena.floats(group * 2 * expand);
  reduced = arena.floats(reduced_size);
  gates = arena.floats(group * expand);
  embedding = arena.floats(group * padded(n.header_.head));
  hidden = arena.floats(group * padded(n.header_.hidden));
  logits = arena.floats(group * padded(n.header_.classes));
  for (int width : n.encoding_widths_) encodings.push_back(arena.floats(group * width));
  encoded.resize(encodings.size());
  items.reserve(kGroup);
  one.reserve(1);
}

}  // namespace movinet
