// The C functions of movinet.h.
#include <cstring>
#include <new>
#include <vector>

#include "error.h"
#include "movinet.h"
#include "network.h"
#include "snapshot.h"

using movinet::Bytes;
using movinet::Error;
using movinet::Network;

struct movinet_model {
  Network network;
};

struct movinet_stream {
  const Network& network;
  Bytes state;
};

namespace {

thread_local std::string last_error;

template <class F>
int guarded(F&& body) {
  try {
    body();
    return MOVINET_OK;
  } catch (const Error& error) {
    last_error = error.what();
    return error.kind == Error::Kind::file ? MOVINET_FILE : MOVINET_USAGE;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
    return MOVINET_MEMORY;
  } catch (const std::exception& error) {
    last_error = error.what();
    return MOVINET_USAGE;
  }
}

}  // namespace

const char* movinet_error(void) { return last_error.c_str(); }

int movinet_load(const char* path, int threads, movinet_model** model) {
  *model = nullptr;
  return guarded([&] {
    if (!path) throw Error(Error::Kind::usage, "a model needs the path of its file");
    *model = new movinet_model{{path, "", threads}};
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

int movinet_snapshot_save(const movinet_stream* stream, const char* path) {
  return guarded([&] {
    if (!path) throw Error(Error::Kind::usage, "a snapshot needs the path of its file");
    movinet::save_snapshot(stream->network, stream->state.data(), path);
  });
}

int movinet_snapshot_load(movinet_stream* stream, const char* path) {
  return guarded([&] {
    if (!path) throw Error(Error::Kind::usage, "a snapshot needs the path of its file");
    movinet::load_snapshot(stream->network, stream->state.data(), path);
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
