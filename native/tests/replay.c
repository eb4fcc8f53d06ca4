/* What a user of movinet.h counts on, over real frames:
 *
 *   movinet_replay MODEL.mvn FRAMES.f32 STREAMS > LOGITS.f32
 *
 * FRAMES is [count][streams][height][width][3] floats. Writes the logits after each frame,
 * [count][streams][classes], of all streams stepped together. Then each stream goes alone: from its
 * start, from a snapshot taken half-way, and from a reset; with bytes as well as with floats; and
 * must give the same again. Embeddings must be those of the state, whether or not the steps computed
 * logits. Wrong use must be refused with a reason.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "movinet.h"

static void need(int condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "%s; movinet_error: %s\n", what, movinet_error());
  exit(1);
}

static void* memory(size_t size) {
  void* p = malloc(size);
  need(p != NULL, "out of memory");
  return p;
}

static float* read_floats(const char* path, size_t* count) {
  FILE* file = fopen(path, "rb");
  need(file && !fseek(file, 0, SEEK_END), "cannot read the frames");
  const long size = ftell(file);
  rewind(file);
  float* data = memory((size_t)size);
  *count = (size_t)size / sizeof *data;
  need(fread(data, sizeof *data, *count, file) == *count, "cannot read the frames");
  fclose(file);
  return data;
}

static void need_near(const float* found, const float* wanted, int count, const char* what) {
  float most = 1e-6f;
  for (int i = 0; i < count; i++) most = fmaxf(most, fabsf(wanted[i]));
  for (int i = 0; i < count; i++) need(fabsf(found[i] - wanted[i]) <= 1e-5f * most, what);
}

/* Steps one stream through frames [from, to) and compares the logits after the last. */
static void go(movinet_stream* stream, const float* frames, int streams, int which, int from, int to,
               size_t frame_size, const float* wanted, int classes, const char* what) {
  float* logits = memory((size_t)classes * sizeof *logits);
  for (int t = from; t < to; t++) {
    const float* frame = frames + ((size_t)t * streams + which) * frame_size;
    need(!movinet_step(stream, frame, MOVINET_FLOATS, 1, 1.f, logits), what);
    need_near(logits, wanted + ((size_t)t * streams + which) * classes, classes, what);
  }
  free(logits);
}

/* Bytes are 255ths; several frames in one call are as many calls. */
static void bytes_and_chunks(const movinet_model* model, size_t frame_size, int classes) {
  unsigned char* bytes = memory(2 * frame_size);
  float* floats = memory(2 * frame_size * sizeof *floats);
  float *a = memory((size_t)classes * sizeof *a), *b = memory((size_t)classes * sizeof *b);
  for (size_t i = 0; i < 2 * frame_size; i++) {
    bytes[i] = (unsigned char)(i * 37 % 256);
    floats[i] = bytes[i] * (1 / 255.f);  /* as the engine does: int8 files magnify the last digit */
  }
  movinet_stream *one = movinet_stream_new(model), *other = movinet_stream_new(model);
  need(one && other, "no stream");
  need(!movinet_step(one, bytes, MOVINET_BYTES, 2, .5f, a), "bytes");
  need(!movinet_step(other, floats, MOVINET_FLOATS, 1, .5f, b), "floats");
  need(!movinet_step(other, floats + frame_size, MOVINET_FLOATS, 1, .5f, b), "floats");
  need_near(a, b, classes, "two frames of bytes in one call are not two of floats");
  movinet_stream_free(one);
  movinet_stream_free(other);
  free(bytes);
  free(floats);
  free(a);
  free(b);
}

/* A stream's embedding does not depend on whether logits were asked for, and goes with its state. */
static void embeddings(const movinet_model* model, const float* frames, size_t frame_size) {
  const movinet_info info = movinet_get_info(model);
  const size_t size = (size_t)info.embedding * sizeof(float);
  float *a = memory(size), *b = memory(size), *logits = memory((size_t)info.classes * sizeof *logits);
  movinet_stream *one = movinet_stream_new(model), *other = movinet_stream_new(model);
  void* snapshot = memory(info.state_bytes);
  need(one && other, "no stream");
  need(movinet_embedding(one, a) == MOVINET_USAGE, "an embedding of no frames");
  need(strstr(movinet_error(), "no frame") != NULL, "the reason of an embedding of no frames");
  need(!movinet_step(one, frames, MOVINET_FLOATS, 1, 1.f, logits), "with logits");
  need(!movinet_step(other, frames, MOVINET_FLOATS, 1, 1.f, NULL), "without logits");
  need(!movinet_embedding(one, a) && !movinet_embedding(other, b), "the embeddings");
  need(!memcmp(a, b, size), "logits change the embedding");
  movinet_snapshot(one, snapshot);
  need(!movinet_step(one, frames + frame_size, MOVINET_FLOATS, 1, .5f, NULL), "another frame");
  need(!movinet_embedding(one, b) && memcmp(a, b, size), "a frame does not change the embedding");
  movinet_restore(one, snapshot);
  need(!movinet_embedding(one, b) && !memcmp(a, b, size), "the embedding after a restore");
  movinet_stream_free(one);
  movinet_stream_free(other);
  free(snapshot);
  free(logits);
  free(a);
  free(b);
}

static void wrong_use(movinet_stream* stream, const float* frames, float* logits) {
  need(movinet_step(stream, frames, MOVINET_FLOATS, 1, 0.f, logits) == MOVINET_USAGE, "decay of 0");
  need(strstr(movinet_error(), "decay") != NULL, "the reason of a decay of 0");
  need(movinet_step(stream, frames, MOVINET_FLOATS, 0, 1.f, logits) == MOVINET_USAGE, "0 frames");
  movinet_model* model;
  need(movinet_load("/no/such/file.mvn", 1, &model) == MOVINET_FILE && !model, "a missing file");
  need(strstr(movinet_error(), "/no/such/file.mvn") != NULL, "the reason of a missing file");
  movinet_free(model);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL.mvn FRAMES.f32 STREAMS > LOGITS.f32\n", argv[0]);
    return 2;
  }
  movinet_model* model;
  need(!movinet_load(argv[1], 2, &model), "cannot load the model");
  const movinet_info info = movinet_get_info(model);
  const size_t frame_size = (size_t)3 * info.height * info.width;
  const int streams = atoi(argv[3]), classes = info.classes;
  need(streams >= 1 && streams <= 64, "1 to 64 streams");
  size_t floats, text;
  float* frames = read_floats(argv[2], &floats);
  const int count = (int)(floats / frame_size / streams);
  need(count >= 2, "two frames or more");
  const char* manifest = movinet_manifest(model, &text);
  need(text > 2 && manifest[0] == '{' && manifest[text - 1] == '}', "the manifest is no JSON");

  movinet_stream* all[64];
  for (int s = 0; s < streams; s++) need((all[s] = movinet_stream_new(model)) != NULL, "no stream");
  const size_t outputs = (size_t)count * streams * classes;
  float* logits = memory(outputs * sizeof *logits);
  need(!movinet_step_many(all, streams, frames, MOVINET_FLOATS, count, NULL, 1, logits), "steps");
  fwrite(logits, sizeof *logits, outputs, stdout);

  void* snapshot = memory(info.state_bytes);
  for (int s = 0; s < streams; s++) {
    movinet_stream* stream = all[s];
    const int half = count / 2;
    movinet_reset(stream);
    go(stream, frames, streams, s, 0, half, frame_size, logits, classes, "after a reset");
    movinet_snapshot(stream, snapshot);
    go(stream, frames, streams, s, half, count, frame_size, logits, classes, "past a snapshot");
    movinet_restore(stream, snapshot);
    go(stream, frames, streams, s, half, count, frame_size, logits, classes, "after a restore");
  }
  wrong_use(all[0], frames, logits);
  bytes_and_chunks(model, frame_size, classes);
  embeddings(model, frames, streams * frame_size);
  for (int s = 0; s < streams; s++) movinet_stream_free(all[s]);
  movinet_free(model);
  free(snapshot);
  free(logits);
  free(frames);
  fprintf(stderr, "%s: %d frames of %d streams, with kernels for %s\n", argv[1], count, streams,
          info.kernels);
  return 0;
}
