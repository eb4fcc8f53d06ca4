// The arithmetic, each kernel alone: no kernel knows the network.
//
// Activations lie in panels of 16 channels: [panel][place][16], so that 16 neighbours of one place
// are one cache line, a place's channels have constant offsets, and no kernel has a tail: channels
// are padded to whole panels with zero weights. What lies in a padded lane is never read as a
// channel. Where only the first 8 lanes of a last panel are channels, kernels may skip the others.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace movinet {

constexpr int kPanel = 16;
constexpr int kMaxKernel = 63;

constexpr size_t panels(size_t channels) { return (channels + kPanel - 1) / kPanel; }
constexpr size_t padded(size_t channels) { return panels(channels) * kPanel; }

// Their numbers are in files, so new ones go last.
enum class Activation : uint32_t { none, relu6, hard_swish, swish, hard_sigmoid, sigmoid, count };

// Memory that will be needed soon. Products fetch it into the cache, a line for every input of a
// tile: so it comes as evenly as they compute, and nothing else has to wait for it.
struct Ahead {
  struct Region {
    const char *at, *end;
  };
  Region regions[2 * kMaxKernel + 4];
  int count = 0;  // regions that are left, the last one first

  void add(const void* at, size_t bytes) {
    const char* from = static_cast<const char*>(at);
    if (bytes) regions[count++] = {from, from + bytes};
  }
  // Where the next so many lines are (or what lies behind them); null if there is nothing to fetch.
  const char* take(int lines) {
    if (!count) return nullptr;
    Region& region = regions[count - 1];
    const char* from = region.at;
    region.at += std::min<ptrdiff_t>(64 * static_cast<ptrdiff_t>(lines), region.end - from);
    if (region.at == region.end) count--;
    return from;
  }
  void forget_all_but(int kept) { count = count < kept ? count : kept; }
};

// c = activation(bias + residual + a * b).
struct Product {
  const float* a;         // [inputs / 16][rows ...][16]
  size_t a_panel;         // floats from one panel of a to the next
  const float* b;         // [outputs / 16][inputs][16]
  const float* bias;      // padded(outputs)
  const float* residual;  // as c, may be c itself; or null
  float* c;               // [outputs / 16][rows ...][16]
  size_t c_panel;
  int rows, inputs, outputs;
  Activation activation;
  Ahead* ahead = nullptr;  // what to fetch meanwhile
};

// The same in integers, b of 8 bits, their sums of 32, which must not overflow: a of 16 bits
// (integer_product), or of 8 (byte_product), where `zero` stands for 0.
struct IntegerProduct {
  const void* a;  // [inputs / 16][rows ...][16]
  size_t a_panel;
  // [outputs / 16][inputs / n][16][n], n = 2 or, for byte_product, 4; zero where there is no input
  const int8_t* b;
  const float* scale;  // padded(outputs), of b
  const float* a_scales;
  int a_scale_step;  // from one row's scale to the next one's; 0 where all rows have the first
  const float *bias, *residual;
  float* c;
  size_t c_panel;
  int rows, inputs, outputs;
  Activation activation;
  Ahead* ahead = nullptr;
  int zero = 0;
  const int32_t* b_sums = nullptr;  // padded(outputs), over all inputs
};

// The same for few rows, where reading the weights is the work: they are 16-bit integers, and each
// run of kRun inputs of an output has a scale of its own. That errs by 2e-5 of an output.
constexpr int kRun = 16;
struct Dense {
  const float* a;    // [inputs / 16][rows][16]
  const int16_t* b;  // [outputs / 16][inputs][16]
  const float* scale;  // [outputs / 16][inputs / kRun][16]
  const float* bias;
  float* c;  // [outputs / 16][rows][16]
  int rows, inputs, outputs;
  Activation activation;
};

// Some rows of a depthwise convolution of one panel, with bias and activation.
struct Depthwise {
  const float* const* rows;  // the input rows of all windows, [column][16], padding included
  const float* weight;       // [kernel][kernel][16]
  const float* bias;         // [16]
  float* out;                // [count][width][16]
  float* sums;               // [16]; the output is added to it
  int count, width, kernel, stride, channels;
  Activation activation;
};

// The newest frame of one panel meets the older ones, and takes the place of the oldest.
struct Taps {
  const float* fresh;    // [places][16]
  void* const* past;     // `kernel` - 1 older frames, the oldest first; it is overwritten
  bool halves;           // they are floats of 16 bits
  const float* weight;   // [kernel][16], the oldest first
  const float* bias;     // [16]
  float* out;            // [places][16]
  float* sums;           // [16]; the output is added to it
  int places, kernel, channels;
  Activation activation;
};

struct Kernels {
  const char* name;
  int panels_at_once;  // what `product` computes of c in one go
  void (*product)(const Product&);
  void (*integer_product)(const IntegerProduct&);
  void (*byte_product)(const IntegerProduct&);  // null where no instruction does it
  int lowest_byte;                              // of a in byte_product; the highest is 255 more
  void (*dense)(const Dense&);
  // A 3x3 convolution of stride 2 of RGB rows, as a product: `a` is the first of three padded
  // rows [column][3] that are `a_panel` floats apart; b is [outputs / 16][27][16].
  void (*stem)(const Product&);
  void (*depthwise)(const Depthwise&);
  void (*taps)(const Taps&);
  // out[o] = mean of the places of a 3x3 window, stride 2, that are inside; one panel.
  void (*average_pool)(const float* in, int height, int width, int channels, float* out);
  // out[i] = in[i] * (1 / 255).
  void (*bytes_to_floats)(const uint8_t* in, float* out, size_t count);
  // out[r][i] = in[r][i] * scale[i], in one panel.
  void (*scale_columns)(const float* in, const float* scale, float* out, size_t rows);
  // out[panel][k][i] = b[panel][k][i] * scale[k].
  void (*scale_rows)(const float* b, const float* scale, float* out, int inputs, size_t panels);
  // sums[i] += in[r][i] over all rows, in one panel.
  void (*sum_rows)(const float* in, float* sums, size_t rows);
  // least[i] and greatest[i] of themselves and of in[r][i], in one panel; NaN where one is not finite.
  void (*range)(const float* in, float* least, float* greatest, size_t rows);
  // out[r][i] = in[r][i] * scale[i], rounded; within 16 bits.
  void (*quantize)(const float* in, const float* scale, int16_t* out, size_t rows);
  // out[r][i] = in[r][i] * scale[i] + zero, rounded; the nearest byte.
  void (*quantize_bytes)(const float* in, const float* scale, int zero, uint8_t* out, size_t rows);
};

// The instruction sets that this build has and this machine can run, the best one first; null ends
// them.
const Kernels* const* available_kernels();
// The one called `name`, or the best one for an empty name; null if there is none.
const Kernels* find_kernels(const char* name);

}  // namespace movinet
