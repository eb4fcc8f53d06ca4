/* Reads raw frames (float32 RGB in [0, 1], as the model wants them) from standard input, and writes
 * the logits after each, one line a frame:
 *
 *   movinet_stream a0.mvn < frames.f32
 */
#include <stdio.h>
#include <stdlib.h>

#include "movinet.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s MODEL.mvn < FRAMES\n", argv[0]);
    return 2;
  }
  movinet_model* model;
  if (movinet_load(argv[1], 1, &model)) {
    fprintf(stderr, "%s\n", movinet_error());
    return 1;
  }
  const movinet_info info = movinet_get_info(model);
  const size_t size = (size_t)3 * info.height * info.width;
  float* frame = malloc(size * sizeof *frame);
  float* logits = malloc((size_t)info.classes * sizeof *logits);
  movinet_stream* stream = movinet_stream_new(model);
  if (!frame || !logits || !stream) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  while (fread(frame, sizeof *frame, size, stdin) == size) {
    if (movinet_step(stream, frame, MOVINET_FLOATS, 1, 1.f, logits)) {
      fprintf(stderr, "%s\n", movinet_error());
      return 1;
    }
    for (int i = 0; i < info.classes; i++) printf("%s%.9g", i ? " " : "", logits[i]);
    printf("\n");
  }
  movinet_stream_free(stream);
  movinet_free(model);
  free(logits);
  free(frame);
  return 0;
}
