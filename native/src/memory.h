// Memory that lives as long as its owner: one zeroed, aligned piece, cut up once.
#pragma once

#if !defined(__wasm__)
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace movinet {

constexpr size_t kAlignment = 64;
#if defined(__linux__)
constexpr size_t kHuge = size_t{2} << 20;  // bytes of a huge page
#endif

// Bytes of a core's second cache, or what it has at least where the system does not tell.
inline size_t second_cache() {
  static const size_t bytes = [] {
    long told = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
    told = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return told > 0 ? static_cast<size_t>(told) : size_t{512} << 10;
  }();
  return bytes;
}

// Zeroed bytes at a multiple of 64; in huge pages where the system has them, because a step
// touches more 4 KiB pages than the processor remembers. What is left of the last one lies in small
// pages: half of a huge page would be wasted on the state of each stream, 1.4 MB of 4.2.
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(size_t size) : size_(size) {
    const size_t whole = (size ? size + kAlignment - 1 : kAlignment) / kAlignment * kAlignment;
#if defined(__linux__)
    void* found = nullptr;
    if (posix_memalign(&found, size < kHuge ? kAlignment : kHuge, whole)) throw std::bad_alloc();
    data_.reset(static_cast<std::byte*>(found));
    if (size >= kHuge) madvise(found, whole / kHuge * kHuge, MADV_HUGEPAGE);
#else
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, whole)));
    if (!data_) throw std::bad_alloc();
#endif
    std::memset(data_.get(), 0, whole);
  }
  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

// Floats at multiples of 64 bytes, from pieces of at least 8 MiB (1 MiB in a page); where the address
// sanitizer looks, each from a piece of its own, so that it sees what reads beyond.
class Arena {
 public:
  float* floats(size_t count) {
    const size_t size = (count * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    if (pieces_.empty() || pieces_.back().size() - used_ < size) {
      pieces_.emplace_back(size > kPiece ? size : kPiece);
      used_ = 0;
    }
    float* p = reinterpret_cast<float*>(pieces_.back().data() + used_);
    used_ += size;
    return p;
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kPiece = 0;
#elif defined(__wasm__)
  static constexpr size_t kPiece = size_t{1} << 20;
#else
  static constexpr size_t kPiece = size_t{8} << 20;
#endif
  std::vector<Bytes> pieces_;
  size_t used_ = 0;
};

}  // namespace movinet
