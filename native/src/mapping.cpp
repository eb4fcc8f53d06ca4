#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace movinet {

Mapping::Mapping(const std::string& path) : path_(path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (descriptor < 0 || fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    const std::string reason = descriptor < 0 ? std::strerror(errno) : "not a regular file";
    if (descriptor >= 0) close(descriptor);
    throw Error(Error::Kind::file, path + ": cannot be read (" + reason + ")");
  }
  size_ = static_cast<size_t>(status.st_size);
  data_ = size_ ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  close(descriptor);
  if (data_ == MAP_FAILED)
    throw Error(Error::Kind::file, path + ": not a usable .mvn file (it is empty or cannot be "
                                          "mapped); export it again");
}

Mapping::~Mapping() { munmap(data_, size_); }

}  // namespace movinet
