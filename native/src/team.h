// Threads that do the parts of one step together.
#pragma once

#if defined(__wasm__)
#include "alone.h"
#else

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include <unistd.h>

#include "error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace movinet {

using Mutex = std::mutex;
#define MOVINET_OF_A_THREAD thread_local

class Team {
 public:
  // The caller of run() and `size` - 1 helpers, which sleep while there is nothing to do.
  explicit Team(int size) : size_(size), helpers_(std::make_unique<Helpers>()) {
    helpers_->reserve(size - 1);
    try {
      for (int i = 1; i < size; i++) helpers_->emplace_back([this] { help(); });
    } catch (const std::system_error&) {
      dismiss();
      throw Error(Error::Kind::usage, "the system gives no " + std::to_string(size) +
                                          " threads to a step: ask for fewer");
    } catch (...) {
      dismiss();
      throw;
    }
  }
  Team(const Team&) = delete;
  ~Team() { dismiss(); }

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

  void dismiss() {
    // A process that was forked has not got the threads: even to join them would touch what is gone.
    if (getpid() != process_) {
      static_cast<void>(helpers_.release());
      return;
    }
    stop_.store(true, std::memory_order_relaxed);
    wake();
    for (std::thread& helper : *helpers_) helper.join();
    helpers_->clear();
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

  using Helpers = std::vector<std::thread>;

  const int size_;
  const pid_t process_ = getpid();
  void (*call_)(void*, int) = nullptr;
  void* what_ = nullptr;
  std::atomic<uint64_t> next_{0x7fffffff};  // the round, and in the lower half the part to take
  std::atomic<int> done_{0};                  // parts of the round
  std::atomic<uint32_t> round_{0};
  std::atomic<bool> stop_{false};
  std::unique_ptr<Helpers> helpers_;
};

}  // namespace movinet

#endif
