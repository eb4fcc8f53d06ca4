// A team and its locks where there are no threads.
#pragma once

#include <string>

#include "error.h"

#define MOVINET_OF_A_THREAD

namespace movinet {

struct Mutex {
  void lock() {}
  bool try_lock() { return true; }
  void unlock() {}
};

class Team {
 public:
  explicit Team(int size) {
    if (size != 1)
      throw Error(Error::Kind::usage, "a step runs in one thread here, not in " +
                                          std::to_string(size));
  }
  Team(const Team&) = delete;

  int size() const { return 1; }

  template <class Work>
  void run(Work&& work) {
    work(0);
  }
};

}  // namespace movinet
