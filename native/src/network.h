// One stream model and its step.
//
// DESIGN
//
// A step takes one or more frames of one or more streams. A frame of a stream is an *item*; items
// come in groups of up to kGroup. Through the first blocks, whose images are large, each item goes
// alone, because it fills the second cache; through the others, from `joint_` on, all go together,
// block by block, so that the weights are fetched once for the group. Within a stream items are in
// the order of time. Where there are several
// threads, each does its share of the panels, rows or outputs of every pass (team.h).
//
//   frame -> stem -> block ... block -> head product -> mean over space -> running mean over time
//         -> hidden layer -> classifier -> logits
//
// A block (see `Block`) is three passes:
//
//   1. for each band of rows, for each panel of 16 expanded channels:
//        expand (product of x, bias, activation) -> rows of `ring`, zeros around them
//        depthwise (k x k, bias, activation)     -> `fresh` where there are temporal taps, else z
//        taps (k_t frames, bias, activation)     -> z; the oldest frame in the state is replaced
//      The means of squeeze-excitation are summed up while z is written. A band is chosen so that
//      `ring` stays in the second cache; where a whole frame fits, one panel's ring is used for
//      all of them and stays in the first.
//   2. squeeze-excitation: running means -> two small products -> one gate for each channel
//   3. project: the gate goes into z or into the weights, whichever is smaller; the skip (x itself,
//      or a product of x or of x pooled) is the residual of the product.
//
// Batch norms and `scale` were folded into the weights when the file was written. Channels lie in
// panels of 16 (kernels.h); with several items, places of all items follow each other in a panel,
// so pointwise layers see one tall matrix.
//
// The state of a stream is one block of memory without pointers, the same for every instruction
// set: a StateHeader, the running sums, and for each temporal kernel a ring of k_t - 1 frames, of
// 16-bit floats unless the file is of float32. Which of them is the oldest follows from the number
// of frames seen. A zeroed state has seen nothing; a copy is a snapshot.
//
// A large part of a step is waiting for what is used once: weights of squeeze-excitation and of the
// classifier, past frames. So products fetch what comes next while they compute (Ahead).
//
// In int8 files pass 1 and 3 multiply integers: x and gated z become 16 bits, or 8 where the machine
// has an instruction for that, with a scale an item, found while z is written.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "file.h"
#include "kernels.h"
#include "memory.h"
#include "team.h"

namespace movinet {

#if defined(__wasm__)
constexpr int kGroup = 1;  // pages have little memory, and see one frame at a time
#else
constexpr int kGroup = 8;
#endif
constexpr int kStemRows = 8;  // output rows at a time

enum class Pixels { floats, bytes };  // in [0, 1], or in [0, 255]

struct StateHeader {
  int64_t frame_count;
  float pool_weight;  // of the running sums; equals frame_count while nothing decays
  uint32_t unused[13];
};
static_assert(sizeof(StateHeader) == 64);

struct Size {
  int height, width;
  size_t places() const { return static_cast<size_t>(height) * width; }
  Size halved() const { return {(height + 1) / 2, (width + 1) / 2}; }
};

// A layer that multiplies, packed for the kernels: one of three kinds of weights.
struct Layer {
  int inputs = 0, outputs = 0;
  const float* bias = nullptr;        // padded(outputs)
  const float* weight = nullptr;      // for Kernels::product
  const int8_t* integers = nullptr;   // for Kernels::integer_product, in int8 files, or
  const int32_t* sums = nullptr;      // for Kernels::byte_product if there are these: over the inputs
  const int16_t* runs = nullptr;      // for Kernels::dense
  const float* scale = nullptr;       // of `integers` or `runs`

  // Bytes of an input of an integer product, and of inputs' weights of an output.
  size_t input_bytes() const { return sums ? 1 : 2; }
  size_t weight_bytes() const { return sums ? (inputs + 3) / 4 * 4 : (inputs + 1) / 2 * 2; }
  void add_to(Ahead& ahead) const;  // the weights, or as much of them as there should be
};

// out = activation(in * layer), `rows` places in panels that are `rows` places long.
Product pointwise(const Layer& layer, const float* in, float* out, int rows, Activation a);

// p, but of the integers that `quantize` made: those of an item, from the place `at` of a panel on.
// p.bias and p.c start at `channel`, too.
IntegerProduct of_integers(const struct Workspace& w, const Layer& layer, const Product& p,
                           size_t at, int item, int channel = 0);

// A part of the state that has a name in the manifest: a running sum or a ring of frames.
struct StatePart {
  size_t offset = 0;  // floats from the start of the state
  int frames = 0;     // 0 for a sum
  int channels = 0;
  Size size{1, 1};
  bool halves = false;  // floats of 16 bits: the frames, where the weights are not of 32

  size_t value_bytes() const { return halves ? sizeof(uint16_t) : sizeof(float); }
};

struct Block {
  BlockRecord record;
  Size in, out;
  int pad_top, pad_left, padded_width;
  int band;       // output rows at a time
  int ring_rows;  // input rows that a band needs
  bool whole;     // one band: a single panel's ring is used for all
  Layer expand, project, skip, reduce, gate;
  const float *depthwise, *depthwise_bias;  // [panel][k * k][16], padded(expand)
  const float *taps, *taps_bias;            // [panel][k_t][16]; null where k_t is 1
  int sum_part, ring_part;                  // of the state; -1 without
  int encoding;                             // which positional encoding

  // Input rows that so many output rows need.
  int rows_until(int outputs) const {
    const int last = (outputs - 1) * static_cast<int>(record.stride) - pad_top;
    return outputs ? std::min(last + static_cast<int>(record.kernel_space), in.height) : 0;
  }
};

// One frame of one stream on its way through the network.
struct Item {
  std::byte* state;
  const void* frame;    // [height][width][3]
  float decay, weight;  // of the running sums, after this frame
  int64_t count;        // frames seen before
  int64_t position;     // what the positional encoding is told
  float* logits;        // null where nobody asks
};

// Output rows from `first` to before `end` of an item, the `index`th of `count`.
struct Band {
  const Block& block;
  const Item& item;
  int index, count, first, end;

  size_t places() const { return static_cast<size_t>(end - first) * block.out.width; }
};

// From `begin` to before `end`.
struct Share {
  int begin, end;
  int size() const { return end - begin; }
};

// What a member of a team of `of` does of `count`, in whole units.
inline Share share(int count, int unit, int member, int of) {
  const int64_t units = (count + unit - 1) / unit;
  const auto before = [&](int64_t m) { return std::min<int64_t>(count, units * m / of * unit); };
  return {static_cast<int>(before(member)), static_cast<int>(before(member + 1))};
}

// What a member of the team writes on, alone.
struct Scratch {
  float *rows, *ring, *fresh;
  Share panels;  // of the block that it is at
  Ahead ahead;
  float least[kGroup], greatest[kGroup];
};

// What a step writes on; one for each step that runs at the same time.
struct Workspace {
  explicit Workspace(const class Network& network);
  Arena arena;
  Team* team;
  std::vector<Scratch> scratch;  // of each member
  float *zero_row, *x, *y, *z, *pooled_x, *scaled;
  float* joint;            // x of all items as the joint blocks want it
  std::byte* integers;     // what goes into an integer product, [panel][item][place][16]
  float a_scales[kGroup];  // of each item of it
  int zeros[kGroup];
  float *sums, *least, *greatest;  // of z, [item][channel]
  float *pooled, *reduced, *gates, *embedding, *hidden, *logits;
  std::vector<float*> encodings;      // [item][width] for each width
  std::vector<char> encoded;          // whether it is of the current group
  std::vector<Item> items, one;       // the current group, and one of it
};

class Network {
 public:
  // Takes a file whole, which is not needed then. `isa` names the instruction set; empty for the
  // best one. A step runs in so many threads.
  Network(File file, const char* isa, int threads);

  const Header& header() const { return header_; }
  const std::string& manifest() const { return manifest_; }
  const Kernels& kernels() const { return *kernels_; }
  const std::vector<StatePart>& state_parts() const { return parts_; }
  size_t state_bytes() const { return state_floats_ * sizeof(float); }

  // `logits` receives [frame][stream][classes] if `every_frame`, else [stream][classes], of the
  // last frame; null leaves the classifier out. `frames` is [frame][stream][height][width][3].
  // May be called from several threads, with different states.
  void step(std::byte* const* states, int streams, const void* frames, Pixels pixels, int count,
            const float* decays, bool every_frame, float* logits) const;

  // What the classifier sees after the last frame, [head]: the mean of all frames, as decayed.
  void embedding(const std::byte* state, float* values) const;

  // A part of a state as plain numbers, [frame (the oldest first)][place][channel], and back.
  void read(const std::byte* state, int part, float* values) const;
  void write(std::byte* state, int part, const float* values) const;

 private:
  friend struct Workspace;

  Layer pack(File& file, int inputs, int outputs, bool many_rows);
  Layer pack_floats(File& file, int inputs, int outputs);
  Layer pack_integers(File& file, int inputs, int outputs, bool many_rows);
  Layer pack_dense(File& file, int inputs, int outputs);
  const float* pack_vectors(const float* values, int rows, int channels);
  void load_block(File& file, const BlockRecord& record, Size size);
  void plan_band(Block& block) const;
  int add_part(int frames, int channels, Size size);
  void check_memory(const std::string& name) const;

  size_t first_joint_block() const;
  void run(Workspace& w, const std::vector<Item>& items, Pixels pixels) const;
  // Blocks from `first` to before `end`.
  void run_blocks(Workspace& w, const std::vector<Item>& items, size_t first, size_t end) const;
  void run_stem(Workspace& w, const std::vector<Item>& items, Pixels pixels) const;
  void copy_row(const void* frame, int row, Pixels pixels, float* to) const;
  void filter(Workspace& w, const Block& b, const std::vector<Item>& items) const;
  void filter_band(Workspace& w, Scratch& s, const Band& band, int panel) const;
  void expand(Workspace& w, Ahead& ahead, const Band& band, int panel,
              float* ring) const;
  void depthwise(Workspace& w, const Band& band, int panel, const float* ring, float* out,
                 float* sums) const;
  std::byte* past(const Band& band, int k, int panel) const;
  void squeeze(Workspace& w, const Block& b, const std::vector<Item>& items) const;
  // Does p, whose b is the layer's; `count` items have its rows.
  void multiply(Workspace& w, const Layer& layer, const Product& p, int count) const;
  void multiply_integers(Workspace& w, const Layer& layer, const Product& p, int count) const;
  // The integers of what goes into a layer, times the gates; one scale for each item. `z` says that
  // it is z, whose ranges are known.
  void quantize(Workspace& w, const Layer& layer, const float* in, int places, int count,
                const float* gates = nullptr, bool z = false) const;
  float choose_scale(const Layer& layer, float least, float greatest, float& scale,
                     int& zero) const;
  const float* encoding(Workspace& w, const Block& b, const std::vector<Item>& items) const;
  void project(Workspace& w, const Block& b, const Layer& next, int count) const;
  void classify(Workspace& w, const std::vector<Item>& items) const;
  float* part(const Item& item, int index) const;

  Header header_;
  std::string manifest_;
  const Kernels* kernels_;
  Arena arena_;
  Size stem_size_;
  Layer stem_, head_, hidden_, classifier_;
  std::vector<Block> blocks_;
  size_t joint_;  // the first block that the items of a group go through together
  std::vector<StatePart> parts_;
  std::vector<std::vector<double>> rates_;  // of the positional encodings, one list for each width
  std::vector<int> encoding_widths_;
  size_t state_floats_ = sizeof(StateHeader) / sizeof(float);
  int head_part_;

  mutable Mutex mutex_, team_mutex_;  // of the workspaces; of the team
  mutable Team team_;
  mutable std::vector<std::unique_ptr<Workspace>> workspaces_;
};

}  // namespace movinet
