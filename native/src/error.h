#pragma once

#include <stdexcept>
#include <string>

namespace movinet {

// What went wrong, in one line.
struct Error : std::runtime_error {
  enum class Kind { usage = 1, file = 2 };
  Error(Kind kind, const std::string& what) : std::runtime_error(what), kind(kind) {}
  Kind kind;
};

}  // namespace movinet
