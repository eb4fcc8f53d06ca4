/* Reads raw frames (float32 RGB in [0, 1], as the model expects them) from standard input, and
 * writes the logits after each, one line a frame; or the embedding of all frames so far:
 *
 *   movinet_stream a0.mvn < frames.f32
 *   movinet_stream a0.mvn embedding < frames.f32
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "movinet.h"

int main(int argc, char** argv) {
  const int embed = argc == 3 && !strcmp(argv[2], "embedding");
  if (argc != 2 && !embed) {
    fprintf(stderr, "usage: %s MODEL.mvn [embedding] < FRAMES\n", argv[0]);
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
  const int count = embed ? info.embedding : info.classes;
  float* numbers = malloc((size_t)count * sizeof *numbers);
  movinet_stream* stream = movinet_stream_new(model);
  if (!frame || !numbers || !stream) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  while (fread(frame, sizeof *frame, size, stdin) == size) {
    /* Without logits the classifier is not computed. */
    if (movinet_step(stream, frame, MOVINET_FLOATS, 1, 1.f, embed ? NULL : numbers) ||
        (embed && movinet_embedding(stream, numbers))) {
      fprintf(stderr, "%s\n", movinet_error());
      return 1;
    }
    for (int i = 0; i < count; i++) printf("%s%.9g", i ? " " : "", numbers[i]);
    printf("\n");
  }
  movinet_stream_free(stream);
  movinet_free(model);
  free(numbers);
  free(frame);
  return 0;
}
