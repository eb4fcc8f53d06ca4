#include "snapshot.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "error.h"
#include "json.h"

namespace movinet {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 31, kMaxHeader = 4 << 20;
constexpr size_t kMaxTensors = 8192;
constexpr char kVersion[] = "1";

// Where the values of a tensor are in the state.
struct Place {
  int part = -1;   // a ring; -1 for what has a name of its own
  int frame = 0;   // of the ring, the oldest first
};

struct Tensor {
  std::string name;
  std::vector<size_t> shape;  // without the stream
  Place place;

  size_t count() const {
    size_t n = 1;
    for (const size_t side : shape) n *= side;
    return n;
  }
  std::string shape_text() const {
    std::string text = "[1";
    for (const size_t side : shape) text += "," + std::to_string(side);
    return text + "]";
  }
};

// What a network's snapshots are made of, by the names in its manifest.
struct Layout {
  std::string model, weights;
  std::vector<Tensor> tensors;  // by name
};

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Error(Error::Kind::file, path + ": " + what);
}

size_t sum_count(const Network& network) {
  size_t count = 0;
  for (const StatePart& part : network.state_parts())
    if (!part.frames) count += part.channels;
  return count;
}

// The block of "buffer/BLOCK/NUMBER"; nothing for other names.
std::optional<std::string> block_of(const std::string& name) {
  constexpr char kPrefix[] = "buffer/";
  const size_t begin = sizeof kPrefix - 1, end = name.rfind('/');
  if (name.compare(0, begin, kPrefix) != 0 || end == std::string::npos || end <= begin)
    return std::nullopt;
  return name.substr(begin, end - begin);
}

Layout layout_of(const Network& network) {
  const Error unknown(Error::Kind::usage,
                      "the model's manifest does not tell what its state is: export it again");
  Json manifest;
  try {
    manifest = parse_json(network.manifest());
  } catch (const std::runtime_error&) {
    throw unknown;
  }
  Layout layout{manifest["name"].text, manifest["weights_sha256"].text, {}};
  std::vector<std::string> blocks;
  bool positional = false;
  for (const Json& state : manifest["states"].list) {
    positional |= state["name"].text == "frame_count";
    const auto block = block_of(state["name"].text);
    if (block && std::find(blocks.begin(), blocks.end(), *block) == blocks.end())
      blocks.push_back(*block);
  }
  size_t ring = 0;
  const std::vector<StatePart>& parts = network.state_parts();
  for (size_t index = 0; index < parts.size(); index++) {
    const StatePart& part = parts[index];
    if (!part.frames) continue;
    if (ring == blocks.size()) throw unknown;
    const std::vector<size_t> shape{static_cast<size_t>(part.size.height),
                                    static_cast<size_t>(part.size.width),
                                    static_cast<size_t>(part.channels)};
    for (int i = 0; i < part.frames; i++)
      layout.tensors.push_back({"buffer/" + blocks[ring] + "/" + std::to_string(i), shape,
                                {static_cast<int>(index), i}});
    ring++;
  }
  layout.tensors.push_back({"pool_weight", {1}, {}});
  layout.tensors.push_back({"sums", {sum_count(network)}, {}});
  if (positional) layout.tensors.push_back({"frame_count", {1}, {}});
  if (ring != blocks.size() || layout.model.empty() ||
      layout.tensors.size() != manifest["states"].list.size())
    throw unknown;
  std::sort(layout.tensors.begin(), layout.tensors.end(),
            [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  return layout;
}

std::string header_text(const Layout& layout, int64_t frame_count) {
  std::string text = "{\"__metadata__\":{\"movinet_snapshot\":" + quoted(kVersion) +
                     ",\"model\":" + quoted(layout.model) +
                     ",\"weights_sha256\":" + quoted(layout.weights) + ",\"frame_counts\":\"[" +
                     std::to_string(frame_count) + "]\",\"decay\":\"[]\",\"time\":\"null\"}";
  uint64_t at = 0;
  for (const Tensor& tensor : layout.tensors) {
    const uint64_t end = at + tensor.count() * sizeof(float);
    text += "," + quoted(tensor.name) + ":{\"dtype\":\"F32\",\"shape\":" + tensor.shape_text() +
            ",\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(end) + "]}";
    at = end;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

std::vector<float> all_sums(const Network& network, const std::byte* state) {
  std::vector<float> sums;
  const std::vector<StatePart>& parts = network.state_parts();
  for (size_t index = 0; index < parts.size(); index++) {
    if (parts[index].frames) continue;
    const size_t at = sums.size();
    sums.resize(at + parts[index].channels);
    network.read(state, static_cast<int>(index), sums.data() + at);
  }
  return sums;
}

// What a file says of its tensors: where each begins, behind the header.
std::map<std::string, uint64_t> places_in(const Json& header, const Layout& layout,
                                          const std::string& path, uint64_t bytes) {
  struct Span {
    int64_t start, end;
  };
  std::vector<Span> spans;
  std::map<std::string, uint64_t> places;
  for (const auto& [name, tensor] : header.object) {
    if (name == "__metadata__") continue;
    const std::vector<Json>& offsets = tensor["data_offsets"].list;
    const Span span = offsets.size() == 2 ? Span{offsets[0].whole(), offsets[1].whole()} : Span{-1, -1};
    if (span.start < 0 || span.end < span.start)
      fail(path, "not a snapshot of a stream: a tensor has no place");
    spans.push_back(span);
    const auto wanted = std::find_if(layout.tensors.begin(), layout.tensors.end(),
                                     [&](const Tensor& t) { return t.name == name; });
    if (wanted == layout.tensors.end()) continue;
    const std::vector<Json>& shape = tensor["shape"].list;
    bool fits = tensor["dtype"].text == "F32" && shape.size() == wanted->shape.size() + 1 &&
                shape[0].whole() == 1;
    for (size_t i = 0; fits && i < wanted->shape.size(); i++)
      fits = shape[i + 1].whole() == static_cast<int64_t>(wanted->shape[i]);
    if (!fits || static_cast<uint64_t>(span.end - span.start) != wanted->count() * sizeof(float))
      fail(path, "it is of an export with another image size, format or quantisation");
    places[name] = static_cast<uint64_t>(span.start);
  }
  if (spans.size() > kMaxTensors) fail(path, "not a snapshot of a stream: too many tensors");
  if (places.size() != layout.tensors.size())
    fail(path, "it is of an export with another image size, format or quantisation");
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return std::pair(a.start, a.end) < std::pair(b.start, b.end); });
  int64_t end = 0;
  for (const Span& span : spans) {
    if (span.start != end) fail(path, "not a snapshot of a stream: its tensors overlap");
    end = span.end;
  }
  if (static_cast<uint64_t>(end) != bytes)
    fail(path, "not a snapshot of a stream: it is cut off, or something follows it");
  return places;
}

int64_t checked_count(const Json& metadata, const Layout& layout, const std::string& path) {
  if (metadata["movinet_snapshot"].text != kVersion)
    fail(path, "not a snapshot of a stream of this version of the format");
  if (metadata["model"].text != layout.model)
    fail(path, "the snapshot is of another model than " + quoted(layout.model));
  const std::string& weights = metadata["weights_sha256"].text;
  if (!weights.empty() && !layout.weights.empty() && weights != layout.weights)
    fail(path, "the snapshot is of other weights: what it has seen means nothing here");
  Json counts;
  try {
    counts = parse_json(metadata["frame_counts"].text);
  } catch (const std::runtime_error&) {
  }
  if (counts.list.size() != 1 || counts.list[0].whole() < 0)
    fail(path, "it is not of one stream");
  return counts.list[0].whole();
}

}  // namespace

void write_snapshot(const Network& network, const std::byte* state, SnapshotSink& sink) {
  const Layout layout = layout_of(network);
  const auto& clock = *reinterpret_cast<const StateHeader*>(state);
  const std::string header = header_text(layout, clock.frame_count);
  const uint64_t length = header.size();
  sink.write(&length, sizeof length);
  sink.write(header.data(), header.size());
  std::vector<float> ring;
  int held = -1;  // the part that is in `ring`
  for (const Tensor& tensor : layout.tensors) {
    if (tensor.place.part < 0) {
      const std::vector<float> values =
          tensor.name == "sums"          ? all_sums(network, state)
          : tensor.name == "pool_weight" ? std::vector<float>{clock.pool_weight}
                                         : std::vector<float>{static_cast<float>(clock.frame_count)};
      sink.write(values.data(), values.size() * sizeof(float));
      continue;
    }
    const int part = tensor.place.part;
    if (part != held) {
      ring.resize(tensor.count() * network.state_parts()[part].frames);
      network.read(state, part, ring.data());
      held = part;
    }
    sink.write(ring.data() + tensor.count() * tensor.place.frame, tensor.count() * sizeof(float));
  }
}

void read_snapshot(const Network& network, std::byte* state, SnapshotSource& source) {
  const Layout layout = layout_of(network);
  const std::string& path = source.name;
  uint64_t length = 0;
  if (source.size < sizeof length || source.size > kMaxBytes)
    fail(path, "not a snapshot of a stream: too short or too long");
  source.read(0, &length, sizeof length);
  if (length < 2 || length > std::min(kMaxHeader, source.size - sizeof length))
    fail(path, "not a snapshot of a stream: its header cannot have this length");
  std::string text(length, '\0');
  source.read(sizeof length, text.data(), text.size());
  Json header;
  try {
    header = parse_json(text);
  } catch (const std::runtime_error& error) {
    fail(path, std::string("not a snapshot of a stream: ") + error.what());
  }
  const int64_t frame_count = checked_count(header["__metadata__"], layout, path);
  const uint64_t begin = sizeof length + length;
  const auto places = places_in(header, layout, path, source.size - begin);
  const auto values_of = [&](const std::string& name, float* to, size_t count) {
    source.read(begin + places.at(name), to, count * sizeof(float));
  };

  Bytes made(network.state_bytes());
  std::memset(made.data(), 0, made.size());
  auto& clock = *reinterpret_cast<StateHeader*>(made.data());
  clock.frame_count = frame_count;
  values_of("pool_weight", &clock.pool_weight, 1);
  float position = 0;
  if (places.count("frame_count")) {
    values_of("frame_count", &position, 1);
    if (!(position >= 0 && position < 9e15f)) fail(path, "its frame_count is not a count of frames");
    // A float does not have all digits of a large count.
    if (position != static_cast<float>(frame_count))
      clock.frame_count = static_cast<int64_t>(position);
  }
  if (!(clock.pool_weight >= 0) || !std::isfinite(clock.pool_weight))
    fail(path, "its pool_weight is not a count of frames");
  std::vector<float> values(sum_count(network));
  values_of("sums", values.data(), values.size());
  size_t at = 0;
  const std::vector<StatePart>& parts = network.state_parts();
  for (size_t index = 0; index < parts.size(); index++) {
    if (parts[index].frames) continue;
    network.write(made.data(), static_cast<int>(index), values.data() + at);
    at += parts[index].channels;
  }
  for (size_t index = 0; index < parts.size(); index++) {
    if (!parts[index].frames) continue;
    std::vector<float> ring;
    for (int frame = 0; frame < parts[index].frames; frame++) {
      const auto tensor =
          std::find_if(layout.tensors.begin(), layout.tensors.end(), [&](const Tensor& t) {
            return t.place.part == static_cast<int>(index) && t.place.frame == frame;
          });
      ring.resize(tensor->count() * parts[index].frames);
      values_of(tensor->name, ring.data() + tensor->count() * frame, tensor->count());
    }
    network.write(made.data(), static_cast<int>(index), ring.data());
  }
  std::memcpy(state, made.data(), made.size());
}

}  // namespace movinet
