// The C functions of movinet.h that work in memory.
#include <algorithm>
#include <cstring>
#include <vector>

#include "api.h"
#include "snapshot.h"

using movinet::Bytes;
using movinet::Error;
using movinet::guarded;
using movinet::Network;

MOVINET_OF_A_THREAD std::string movinet::last_error;

namespace {

// Counts what is written, and keeps as much of it as there is room.
struct Buffer : movinet::SnapshotSink {
  Buffer(void* to, size_t capacity) : to(static_cast<std::byte*>(to)), capacity(capacity) {}
  void write(const void* data, size_t bytes) override {
    if (to && size + bytes <= capacity) std::memcpy(to + size, data, bytes);
    size += bytes;
  }

  std::byte* to;
  size_t capacity, size = 0;
};

struct Span : movinet::SnapshotSource {
  Span(const void* bytes, size_t size)
      : SnapshotSource("the snapshot", size), bytes(static_cast<const std::byte*>(bytes)) {}
  void read(uint64_t at, void* to, size_t count) override { std::memcpy(to, bytes + at, count); }

  const std::byte* bytes;
};

}  // namespace

const char* movinet_error(void) { return movinet::last_error.c_str(); }

int movinet_load_memory(const void* bytes, size_t size, int threads, movinet_model** model) {
  *model = nullptr;
  return guarded([&] {
    if (!bytes) throw Error(Error::Kind::usage, "a model needs the bytes of its file");
    *model = new movinet_model{{{bytes, size, "the model"}, "", threads}};
  });
}

void movinet_free(movinet_model* model) { delete model; }

movinet_info movinet_get_info(const movinet_model* model) {
  const Network& n = model->network;
  return {static_cast<int>(n.header().height), static_cast<int>(n.header().width),
          static_cast<int>(n.header().classes), n.state_bytes(), n.kernels().name,
          static_cast<int>(n.header().head)};
}

const char* movinet_manifest(const movinet_model* model, size_t* size) {
  *size = model->network.manifest().size();
  return model->network.manifest().data();
}

movinet_stream* movinet_stream_new(const movinet_model* model) {
  movinet_stream* stream = nullptr;
  guarded([&] { stream = new movinet_stream{model->network, Bytes(model->network.state_bytes())}; });
  return stream;
}

void movinet_stream_free(movinet_stream* stream) { delete stream; }

void movinet_reset(movinet_stream* stream) {
  std::memset(stream->state.data(), 0, stream->state.size());
}

void movinet_snapshot(const movinet_stream* stream, void* bytes) {
  std::memcpy(bytes, stream->state.data(), stream->state.size());
}

void movinet_restore(movinet_stream* stream, const void* bytes) {
  std::memcpy(stream->state.data(), bytes, stream->state.size());
}

int movinet_snapshot_write(const movinet_stream* stream, void* bytes, size_t capacity,
                           size_t* size) {
  return guarded([&] {
    Buffer buffer(bytes, capacity);
    movinet::write_snapshot(stream->network, stream->state.data(), buffer);
    *size = buffer.size;
    if (bytes && buffer.size > capacity)
      throw Error(Error::Kind::usage, "the snapshot has " + std::to_string(buffer.size) +
                                          " bytes, and there is room for " +
                                          std::to_string(capacity));
  });
}

int movinet_snapshot_read(movinet_stream* stream, const void* bytes, size_t size) {
  return guarded([&] {
    if (!bytes) throw Error(Error::Kind::usage, "a snapshot needs its bytes");
    Span span(bytes, size);
    movinet::read_snapshot(stream->network, stream->state.data(), span);
  });
}

int movinet_embedding(const movinet_stream* stream, float* embedding) {
  return guarded([&] { stream->network.embedding(stream->state.data(), embedding); });
}

int movinet_step(movinet_stream* stream, const void* frames, movinet_pixels pixels, int count,
                 float decay, float* logits) {
  return movinet_step_many(&stream, 1, frames, pixels, count, &decay, 0, logits);
}

int movinet_step_many(movinet_stream* const* streams, int stream_count, const void* frames,
                      movinet_pixels pixels, int count, const float* decays, int every_frame,
                      float* logits) {
  return guarded([&] {
    if (stream_count < 1 || count < 1)
      throw Error(Error::Kind::usage, "a step needs at least one stream and one frame");
    std::vector<std::byte*> states;
    for (int s = 0; s < stream_count; s++) {
      if (decays && !(decays[s] > 0 && decays[s] <= 1))
        throw Error(Error::Kind::usage, "decay must be in (0, 1]");
      if (&streams[s]->network != &streams[0]->network)
        throw Error(Error::Kind::usage, "the streams of a step must be of one model");
      states.push_back(streams[s]->state.data());
    }
    const auto kind = pixels == MOVINET_BYTES ? movinet::Pixels::bytes : movinet::Pixels::floats;
    streams[0]->network.step(states.data(), stream_count, frames, kind, count, decays,
                             every_frame != 0, logits);
  });
}
