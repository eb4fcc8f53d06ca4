// The .mvn file: a header, a record for each block, a manifest (JSON, for people and for Python),
// and the tensors. Everything is little-endian; each part starts at a multiple of 64 bytes. The
// order and the shapes of the tensors follow from the records, so there are no offsets to trust.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels.h"

namespace movinet {

constexpr uint32_t kMagic = 0x314E564D;  // "MVN1"
constexpr uint32_t kVersion = 1;

// Of the matrices; float16 of all that is multiplied.
enum class Precision : uint32_t { float32, int8, float16 };
enum class Pooling : uint32_t { none, over_time, over_space, both };  // of squeeze-excitation

struct Header {
  uint32_t magic, version;
  uint64_t file_size;
  uint32_t manifest_size, block_count;
  uint32_t height, width;
  uint32_t stem, head, hidden, classes;
  uint32_t trained_frames;
  Pooling pooling;
  Activation activation, gating, head_activation;
  uint32_t positional;
  Precision precision;
};

struct BlockRecord {
  uint32_t inputs, expand, outputs;
  uint32_t kernel_time, kernel_space, stride;
  uint32_t reduced;  // hidden width of squeeze-excitation; 0 without
  uint32_t skip;     // 1: the skip has a convolution
  float position_scale;
};

// A .mvn file in memory, which must live as long, with everything that sizes depend on checked.
class File {
 public:
  // `name` is what errors call it.
  File(const void* data, uint64_t size, std::string name);

  const std::string& name() const { return name_; }
  const Header& header() const { return header_; }
  const std::vector<BlockRecord>& blocks() const { return blocks_; }
  std::string manifest() const;
  // The next tensor, of `count` floats; unaligned memory that lives as long as the file.
  const float* next(uint64_t count);
  // The same of what is multiplied, which is smaller in float16 files; until the next call.
  const float* next_weights(uint64_t count);
  const int8_t* next_int8(uint64_t count);
  // Every tensor must have been taken.
  void check_end() const;

 private:
  void parse();
  const char* take(uint64_t bytes);
  [[noreturn]] void fail(const std::string& what) const;

  std::string name_;
  const char* data_;
  uint64_t size_, at_ = 0;
  Header header_{};
  std::vector<BlockRecord> blocks_;
  std::vector<float> converted_;
};

}  // namespace movinet
