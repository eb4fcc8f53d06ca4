// Threads that do the parts of one step together.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace movinet {

class Team {
 public:
  // The caller of run() and `size` - 1 helpers, which sleep while there is nothing to do.
  explicit Team(int size) : size_(size) {
    for (int i = 1; i < size; i++) helpers_.emplace_back([this] { help(); });
  }
  Team(const Team&) = delete;
  ~Team() {
    stop_.store(true, std::memory_order_relaxed);
    wake();
    for (std::thread& helper : helpers_) helper.join();
  }

  int size() const { return size_; }

  // work(part) for each part from 0 to before size(), by whoever is there first: where helpers do
  // not get a processor, the caller does not wait for them. `work` may not throw.
  template <class Work>
  void run(Work&& work) {
    if (size_ == 1) return work(0);
    call_ = [](void* what, int part) { (*static_cast<std::remove_reference_t<Work>*>(what))(part); };
    what_ = const_cast<void*>(static_cast<const void*>(&work));
    done_.store(0, std::memory_order_relaxed);
    next_.store(((next_.load(std::memory_order_relaxed) >> 32) + 1) << 32,
                std::memory_order_release);
    wake();
    take_parts();
    wait_until([this] { return done_.load(std::memory_order_acquire) == size_; },
               [] { std::this_thread::yield(); });
  }

 private:
  // The parts of a step follow each other within microseconds: stay awake so long.
  static constexpr int kPatience = 1000;

  template <class Done, class Rest>
  static void wait_until(Done done, Rest rest) {
    for (int i = 0; !done(); i++) {
      if (i >= kPatience) rest();
#if defined(__x86_64__)
      else _mm_pause();
#endif
    }
  }

  void wake() {
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }

  void take_parts() {
    uint64_t next = next_.load(std::memory_order_acquire);
    while (static_cast<int>(next & 0xffffffff) < size_)
      // Whoever takes a part keeps the round from ending, so call_ and what_ are of this round.
      if (next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        call_(what_, static_cast<int>(next & 0xffffffff));
        done_.fetch_add(1, std::memory_order_release);
        next = next_.load(std::memory_order_acquire);
      }
  }

  void help() {
    for (uint32_t seen = 0;;) {
      wait_until([&] { return round_.load(std::memory_order_acquire) != seen; },
                 [&] { round_.wait(seen, std::memory_order_acquire); });
      seen = round_.load(std::memory_order_acquire);
      if (stop_.load(std::memory_order_relaxed)) return;
      take_parts();
    }
  }

  const int size_;
  void (*call_)(void*, int) = nullptr;
  void* what_ = nullptr;
  std::atomic<uint64_t> next_{0x7fffffff};  // the round, and in the lower half the part to take
  std::atomic<int> done_{0};                  // parts of the round
  std::atomic<uint32_t> round_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace movinet
