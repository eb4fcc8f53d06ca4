// Loads damaged files for a while, and steps through those that load; to be built with
// MOVINET_SANITIZE, which ends the program at the first wrong access:
//
//   movinet_fuzz SECONDS SEED FOLDER FILE.mvn...
//
// The damage knows the format: fields of the header and of the records get values from the edges of
// what is allowed, the size in the header follows the file's, so that most of it passes the first
// checks. FOLDER holds the file that is being tried, and keeps it where the program ends early. Every
// other file is a damaged snapshot, which a stream of the whole model loads.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "movinet.h"

namespace {

using Data = std::vector<char>;

constexpr size_t kHeader = 72, kSizeField = 8;
constexpr uint32_t kEdges[] = {0,  1,  2,     3,     4,     5,      7,          15,        16,
                               17, 31, 32,    33,    63,    64,     65,         100,       255,
                               256, 16384, 16385, 65535, 65536, 65537, 0x7fffffff, 0x80000000, 0xffffffff};
// A step of more bytes than this would be correct, and slow.
constexpr size_t kMaxState = 64 << 20, kMaxFrame = 4 << 20;

Data read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Data data{std::istreambuf_iterator<char>(file), {}};
  if (data.size() < kHeader) {
    std::fprintf(stderr, "%s: not a .mvn file to start from\n", path.c_str());
    std::exit(2);
  }
  return data;
}

template <class T>
void put(Data& data, size_t at, T value) {
  if (at + sizeof value <= data.size()) std::memcpy(data.data() + at, &value, sizeof value);
}

class Damage {
 public:
  explicit Damage(unsigned seed) : random_(seed) {}

  Data operator()(Data data) {
    for (size_t i = 0, n = 1 + below(3); i < n; i++) once(data);
    if (below(8)) put<uint64_t>(data, kSizeField, data.size());
    return data;
  }
  // Of a snapshot, mostly of its JSON.
  Data of_snapshot(Data data) {
    constexpr char kMarks[] = "0123456789-.eE\"[]{},:\\/u x";
    uint64_t length = 0;
    std::memcpy(&length, data.data(), sizeof length);
    const size_t header = sizeof length + length;
    for (size_t i = 0, n = 1 + below(4); i < n; i++) {
      switch (below(8)) {
        case 0:
          put(data, 0, static_cast<uint64_t>(kEdges[below(std::size(kEdges))]));
          break;
        case 1:
          data.resize(below(data.size() + 1));
          break;
        case 2:
          data[below(data.size())] ^= static_cast<char>(1 << below(8));
          break;
        case 3: {  // a piece of the header in another place
          const size_t size = below(64), to = below(header), from = below(header);
          if (std::max(to, from) + size < data.size())
            std::memmove(data.data() + to, data.data() + from, size);
          break;
        }
        default:
          data[std::min(below(header), data.size() - 1)] = kMarks[below(sizeof kMarks - 1)];
      }
      if (data.size() < 16) break;
    }
    return data;
  }
  size_t below(size_t count) { return random_() % count; }

 private:
  void once(Data& data) {
    switch (below(6)) {
      case 0:  // a field of the header or of the first records
        put(data, 4 * below(64), kEdges[below(std::size(kEdges))]);
        break;
      case 1: {  // a field that is a little more or less than it was
        const size_t at = 4 * below(64);
        uint32_t value = 0;
        if (at + 4 <= data.size()) std::memcpy(&value, data.data() + at, 4);
        put(data, at, value + static_cast<uint32_t>(below(5)) - 2);
        break;
      }
      case 2:
        data.resize(below(data.size() + 1));
        break;
      case 3:
        data.resize(data.size() + 64 * below(100));
        break;
      case 4:  // bits anywhere: in weights they make numbers that are none
        if (!data.empty()) data[below(data.size())] ^= static_cast<char>(1 << below(8));
        break;
      default:  // a piece moved to another place
        if (data.size() > 256) {
          const size_t size = below(128), to = below(data.size() - size);
          std::memmove(data.data() + to, data.data() + below(data.size() - size), size);
        }
    }
  }

  std::mt19937 random_;
};

void need_one_line() {
  if (!std::strchr(movinet_error(), '\n') && *movinet_error()) return;
  std::fprintf(stderr, "not one line: %s\n", movinet_error());
  std::abort();
}

// A model, a stream of it, and a snapshot of that to damage.
class Whole {
 public:
  Whole(const char* path, const std::string& folder) {
    if (movinet_load(path, 1, &model_)) fail(path);
    const movinet_info info = movinet_get_info(model_);
    stream_ = movinet_stream_new(model_);
    frame_.resize(size_t{3} * info.height * info.width, 100);
    logits_.resize(info.classes);
    const std::string saved = folder + "/saved.safetensors";
    if (!stream_ || !step() || movinet_snapshot_save(stream_, saved.c_str())) fail(path);
    snapshot_ = read(saved);
    std::remove(saved.c_str());
  }
  ~Whole() {
    movinet_stream_free(stream_);
    movinet_free(model_);
  }
  Whole(const Whole&) = delete;
  Whole& operator=(const Whole&) = delete;

  const Data& snapshot() const { return snapshot_; }
  bool step() { return !movinet_step(stream_, frame_.data(), MOVINET_BYTES, 1, 1.f, logits_.data()); }
  // Whether the file was taken.
  bool try_snapshot(const std::string& path) {
    const bool taken = !movinet_snapshot_load(stream_, path.c_str());
    if (!taken) need_one_line();
    if (!step()) fail("a stream that was loaded");
    movinet_reset(stream_);
    return taken;
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "%s: %s\n", what, movinet_error());
    std::exit(2);
  }

  movinet_model* model_ = nullptr;
  movinet_stream* stream_ = nullptr;
  Data frame_, snapshot_;
  std::vector<float> logits_;
};

// Two frames of two streams; false if the file is refused.
bool try_file(const std::string& path, Damage& random) {
  movinet_model* model = nullptr;
  if (movinet_load(path.c_str(), 1, &model)) {
    need_one_line();
    return false;
  }
  const movinet_info info = movinet_get_info(model);
  const size_t frame = size_t{3} * info.height * info.width;
  if (info.state_bytes <= kMaxState && frame <= kMaxFrame) {
    std::vector<unsigned char> frames(4 * frame);
    for (unsigned char& pixel : frames) pixel = static_cast<unsigned char>(random.below(256));
    std::vector<float> logits(size_t{4} * info.classes);
    movinet_stream* streams[] = {movinet_stream_new(model), movinet_stream_new(model)};
    if (!streams[0] || !streams[1] ||
        movinet_step_many(streams, 2, frames.data(), MOVINET_BYTES, 2, nullptr, 1, logits.data())) {
      std::fprintf(stderr, "a file that loads does not run: %s\n", movinet_error());
      std::abort();
    }
    for (movinet_stream* stream : streams) movinet_stream_free(stream);
  }
  movinet_free(model);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s SECONDS SEED FOLDER FILE.mvn...\n", argv[0]);
    return 2;
  }
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(std::atof(argv[1]));
  Damage damage(static_cast<unsigned>(std::atoi(argv[2])));
  const std::string path = std::string(argv[3]) + "/tried.mvn";
  std::vector<Data> seeds;
  std::vector<std::unique_ptr<Whole>> wholes;
  for (int i = 4; i < argc; i++) {
    seeds.push_back(read(argv[i]));
    wholes.push_back(std::make_unique<Whole>(argv[i], argv[3]));
  }
  long tried = 0, loaded = 0, snapshots = 0, taken = 0;
  const auto write = [&](const Data& data) {
    std::ofstream(path, std::ios::binary).write(data.data(), static_cast<std::streamsize>(data.size()));
  };
  while (Clock::now() < end) {
    write(damage(seeds[damage.below(seeds.size())]));
    loaded += try_file(path, damage);
    tried++;
    Whole& whole = *wholes[damage.below(wholes.size())];
    write(damage.of_snapshot(whole.snapshot()));
    taken += whole.try_snapshot(path);
    snapshots++;
  }
  std::remove(path.c_str());
  std::printf("%ld files tried, %ld of them loaded and ran\n", tried, loaded);
  std::printf("%ld snapshots tried, %ld of them taken\n", snapshots, taken);
  return tried && loaded && taken ? 0 : 1;
}
