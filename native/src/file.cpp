#include "file.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "error.h"
#include "half.h"

static_assert(std::endian::native == std::endian::little, ".mvn files are little-endian");

namespace movinet {
namespace {

constexpr uint32_t kMaxChannels = 65536, kMaxBlocks = 1000, kMaxSide = 16384, kMaxFrames = 1000000;

uint64_t align(uint64_t offset) { return (offset + 63) / 64 * 64; }

bool within(uint32_t value, uint32_t low, uint32_t high) { return low <= value && value <= high; }

}  // namespace

File::File(const void* data, uint64_t size, std::string name)
    : name_(std::move(name)), data_(static_cast<const char*>(data)), size_(size) {
  parse();
}

void File::fail(const std::string& what) const {
  throw Error(Error::Kind::file, name_ + ": not a usable .mvn file (" + what + "); export it again");
}

void File::parse() {
  if (size_ < sizeof header_) fail("too short");
  std::memcpy(&header_, data_, sizeof header_);
  const Header& h = header_;
  if (h.magic != kMagic) fail("wrong magic bytes");
  if (h.version != kVersion)
    fail("version " + std::to_string(h.version) + ", this engine reads " + std::to_string(kVersion));
  if (h.file_size != size_)
    fail("it says " + std::to_string(h.file_size) + " bytes, there are " + std::to_string(size_));
  if (!within(h.block_count, 1, kMaxBlocks)) fail("number of blocks");
  if (!within(h.height, 1, kMaxSide) || !within(h.width, 1, kMaxSide)) fail("image size");
  for (uint32_t channels : {h.stem, h.head, h.hidden, h.classes})
    if (!within(channels, 1, kMaxChannels)) fail("channels of stem, head or classifier");
  if (!within(h.trained_frames, 1, kMaxFrames) || h.positional > 1) fail("positional encoding");
  if (h.pooling > Pooling::both) fail("pooling");
  if (h.precision > Precision::float16) fail("precision");
  for (Activation a : {h.activation, h.gating, h.head_activation})
    if (a >= Activation::count) fail("activation");

  const uint64_t records = align(sizeof header_);
  const uint64_t manifest = align(records + uint64_t{h.block_count} * sizeof(BlockRecord));
  at_ = align(manifest + h.manifest_size);
  if (at_ > size_) fail("too short for its records and its manifest");
  blocks_.resize(h.block_count);
  std::memcpy(blocks_.data(), data_ + records, blocks_.size() * sizeof(BlockRecord));
  uint32_t inputs = h.stem;
  for (size_t i = 0; i < blocks_.size(); i++) {
    const BlockRecord& b = blocks_[i];
    const bool fits =
        b.inputs == inputs && within(b.expand, 1, kMaxChannels) &&
        within(b.outputs, 1, kMaxChannels) && within(b.kernel_time, 1, kMaxKernel) &&
        within(b.kernel_space, 1, kMaxKernel) && b.kernel_time % 2 && b.kernel_space % 2 &&
        within(b.stride, 1, 2) && b.reduced <= kMaxChannels && b.skip <= 1 &&
        (h.pooling == Pooling::none) == (b.reduced == 0) && std::isfinite(b.position_scale) &&
        (b.skip || (b.stride == 1 && b.inputs == b.outputs));
    if (!fits) fail("record of block " + std::to_string(i));
    inputs = b.outputs;
  }
}

std::string File::manifest() const {
  const uint64_t start =
      align(align(sizeof header_) + uint64_t{header_.block_count} * sizeof(BlockRecord));
  return {data_ + start, header_.manifest_size};
}

const char* File::take(uint64_t bytes) {
  if (at_ > size_ || bytes > size_ - at_) fail("too short for its tensors");
  const char* p = data_ + at_;
  at_ = align(at_ + bytes);
  return p;
}

// Counts are products of at most three checked numbers, so they do not overflow.
const float* File::next(uint64_t count) {
  return reinterpret_cast<const float*>(take(count * sizeof(float)));
}

const float* File::next_weights(uint64_t count) {
  if (header_.precision != Precision::float16) return next(count);
  const char* halves = take(count * sizeof(uint16_t));
  converted_.resize(count);
  for (uint64_t i = 0; i < count; i++) {
    uint16_t half;
    std::memcpy(&half, halves + i * sizeof half, sizeof half);
    converted_[i] = from_half(half);
  }
  return converted_.data();
}

const int8_t* File::next_int8(uint64_t count) {
  return reinterpret_cast<const int8_t*>(take(count));
}

void File::check_end() const {
  if (at_ != align(size_)) fail("longer than its tensors");
}

}  // namespace movinet
