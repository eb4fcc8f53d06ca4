// The C functions of movinet.h that take paths.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "api.h"
#include "error.h"
#include "mapping.h"
#include "snapshot.h"

using movinet::Error;
using movinet::guarded;

namespace {

using Handle = std::unique_ptr<FILE, int (*)(FILE*)>;

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Error(Error::Kind::file, path + ": " + what);
}

std::string reason(int number) { return std::string(" (") + std::strerror(number) + ")"; }

// A file that appears whole or not at all.
class NewFile : public movinet::SnapshotSink {
 public:
  explicit NewFile(const std::string& path)
      : path_(path),
        temporary_(path + ".part-" + std::to_string(getpid())),
        file_(std::fopen(temporary_.c_str(), "wbe"), std::fclose) {
    if (!file_) fail(path, "cannot be written" + reason(errno));
  }
  ~NewFile() override {
    if (file_) std::remove(temporary_.c_str());
  }
  void write(const void* data, size_t bytes) override {
    if (std::fwrite(data, 1, bytes, file_.get()) != bytes) give_up();
  }
  void keep() {
    if (std::fflush(file_.get()) != 0) give_up();
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) give_up();
    file_.reset();
  }

 private:
  [[noreturn]] void give_up() { fail(path_, "cannot be written" + reason(errno)); }

  std::string path_, temporary_;
  Handle file_;
};

Handle open_regular(const std::string& path, uint64_t& size) {
  // Whatever else is there, a pipe does not stop us.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail(path, "cannot be read" + reason(errno));
  struct stat status {};
  const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  Handle file(regular ? fdopen(descriptor, "rb") : nullptr, std::fclose);
  if (!file) {
    close(descriptor);
    fail(path, "cannot be read (not a regular file)");
  }
  size = static_cast<uint64_t>(status.st_size);
  return file;
}

class OpenFile : public movinet::SnapshotSource {
 public:
  explicit OpenFile(const std::string& path)
      : SnapshotSource(path, 0), file_(open_regular(path, size)) {}
  void read(uint64_t at, void* to, size_t bytes) override {
    if (fseeko(file_.get(), static_cast<off_t>(at), SEEK_SET) != 0) fail(name, "cannot be read");
    if (std::fread(to, 1, bytes, file_.get()) != bytes) fail(name, "cannot be read to its end");
  }

 private:
  Handle file_;
};

}  // namespace

int movinet_load(const char* path, int threads, movinet_model** model) {
  *model = nullptr;
  return guarded([&] {
    if (!path) throw Error(Error::Kind::usage, "a model needs the path of its file");
    *model = new movinet_model{{movinet::Mapping(path).file(), "", threads}};
  });
}

int movinet_snapshot_save(const movinet_stream* stream, const char* path) {
  return guarded([&] {
    if (!path) throw Error(Error::Kind::usage, "a snapshot needs the path of its file");
    NewFile file(path);
    movinet::write_snapshot(stream->network, stream->state.data(), file);
    file.keep();
  });
}

int movinet_snapshot_load(movinet_stream* stream, const char* path) {
  return guarded([&] {
    if (!path) throw Error(Error::Kind::usage, "a snapshot needs the path of its file");
    OpenFile file(path);
    movinet::read_snapshot(stream->network, stream->state.data(), file);
  });
}
