// A .mvn file as memory, read when it is looked at.
#pragma once

#include <cstddef>
#include <string>

#include "file.h"

namespace movinet {

class Mapping {
 public:
  explicit Mapping(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // For as long as the mapping is there.
  File file() const { return {data_, size_, path_}; }

 private:
  std::string path_;
  void* data_;
  size_t size_;
};

}  // namespace movinet
