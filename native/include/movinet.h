/* movinet.h: run a MoViNet stream model (.mvn, written by `movinet export`) from C or C++.
 *
 *   movinet_model* model;
 *   if (movinet_load("a0.mvn", 1, &model)) { puts(movinet_error()); return 1; }
 *   movinet_stream* stream = movinet_stream_new(model);
 *   for each frame: movinet_step(stream, frame, MOVINET_BYTES, 1, 1.f, logits);
 *
 * A model may be used by several threads at once, a stream by one at a time; of steps at the same
 * time one has the model's helpers. Functions that return
 * int return 0, or an error code, whose reason movinet_error() then tells in one line.
 */
#ifndef MOVINET_H
#define MOVINET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct movinet_model movinet_model;
typedef struct movinet_stream movinet_stream;

/* RGB as floats in [0, 1], or as bytes in [0, 255]. */
typedef enum movinet_pixels { MOVINET_FLOATS, MOVINET_BYTES } movinet_pixels;

enum { MOVINET_OK = 0, MOVINET_USAGE = 1, MOVINET_FILE = 2, MOVINET_MEMORY = 3 };

/* What the model wants and gives. */
typedef struct movinet_info {
  int height, width;   /* of a frame, pixels */
  int classes;         /* logits */
  size_t state_bytes;  /* of one stream */
  const char* kernels; /* the instruction set in use */
  int embedding;       /* channels of the embedding */
} movinet_info;

/* The reason of this thread's last error; never null. */
const char* movinet_error(void);

/* A step runs in so many threads: the caller's, and helpers that sleep between steps. */
int movinet_load(const char* path, int threads, movinet_model** model);
/* The same of a .mvn file that is in memory, which is not needed then. */
int movinet_load_memory(const void* bytes, size_t size, int threads, movinet_model** model);
void movinet_free(movinet_model* model); /* after its streams; null is allowed */
movinet_info movinet_get_info(const movinet_model* model);
/* JSON: labels, whether a clip may have several of them (multi_label), frame rate, preprocessing,
 * origin; not ended by a zero byte. */
const char* movinet_manifest(const movinet_model* model, size_t* size);

/* A stream that has seen nothing; null if there is no memory. */
movinet_stream* movinet_stream_new(const movinet_model* model);
void movinet_stream_free(movinet_stream* stream);
void movinet_reset(movinet_stream* stream);
/* The state as `state_bytes` bytes, and back to it; of any stream of the same file. */
void movinet_snapshot(const movinet_stream* stream, void* bytes);
void movinet_restore(movinet_stream* stream, const void* bytes);

/* The same as a file that every export of the same weights reads, in Python too, whatever its format
 * (docs/reference/snapshot.md). It appears whole or not at all. A file may come from anybody: one
 * that is damaged, or of another model, other weights or another image size, is refused, and the
 * stream has not moved then. */
int movinet_snapshot_save(const movinet_stream* stream, const char* path);
int movinet_snapshot_load(movinet_stream* stream, const char* path);
/* The same in memory. `size` receives how many bytes the snapshot has; with null for `bytes` nothing
 * else happens, and one that `capacity` bytes do not hold is refused. */
int movinet_snapshot_write(const movinet_stream* stream, void* bytes, size_t capacity,
                           size_t* size);
int movinet_snapshot_read(movinet_stream* stream, const void* bytes, size_t size);

/* See the next frames: `frames` is [count][height][width][3], `logits` receives `classes` floats,
 * of everything seen since the start; if it is null, the classifier is not computed. Probabilities
 * are the softmax of the logits; if the manifest has "multi_label": true, or there is only one
 * class, the sigmoid 1 / (1 + exp(-logit)) of each. `decay`, in (0, 1], is what the poolings over
 * past frames keep a frame; 1 is their mean, the published way. */
int movinet_step(movinet_stream* stream, const void* frames, movinet_pixels pixels, int count,
                 float decay, float* logits);

/* The same for several streams of one model in one call, which is faster: `frames` is
 * [count][streams][height][width][3], `decays` one for each stream or null for 1. With
 * `every_frame`, `logits` is [count][streams][classes], after each frame; else
 * [streams][classes]; it may be null. */
int movinet_step_many(movinet_stream* const* streams, int stream_count, const void* frames,
                      movinet_pixels pixels, int count, const float* decays, int every_frame,
                      float* logits);

/* The embedding of everything that a stream has seen, of movinet_info's `embedding` floats: the mean
 * of the last layer before the classifier, over places and frames, as `decay` weighed them. It is
 * read from the state, so it can be asked for after any step, and after a restore. Refused if the
 * stream has seen no frame. */
int movinet_embedding(const movinet_stream* stream, float* embedding);

#ifdef __cplusplus
}
#endif

#endif
