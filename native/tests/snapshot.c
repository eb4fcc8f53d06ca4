/* Snapshots as files, over raw frames (bytes, as the model expects them):
 *
 *   movinet_snapshot save MODEL.mvn SNAPSHOT < FRAMES
 *   movinet_snapshot resume MODEL.mvn SNAPSHOT < FRAMES
 *
 * The first sees the frames and saves the stream, the second goes on from a file and sees them. Both
 * write the logits after each frame, one line each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "movinet.h"

static int complain(void) {
  fprintf(stderr, "%s\n", movinet_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  movinet_model* model;
  if (movinet_load(argv[2], 1, &model)) return complain();
  const movinet_info info = movinet_get_info(model);
  const size_t size = (size_t)3 * info.height * info.width;
  unsigned char* frame = malloc(size);
  float* logits = malloc((size_t)info.classes * sizeof *logits);
  movinet_stream* stream = movinet_stream_new(model);
  if (!frame || !logits || !stream) return 3;
  const int resumes = !strcmp(argv[1], "resume");
  int failed = resumes && movinet_snapshot_load(stream, argv[3]) ? complain() : 0;
  while (!failed && fread(frame, 1, size, stdin) == size) {
    failed = movinet_step(stream, frame, MOVINET_BYTES, 1, 1.f, logits) ? complain() : 0;
    for (int i = 0; i < info.classes; i++) printf("%s%.9g", i ? " " : "", logits[i]);
    printf("\n");
  }
  if (!failed && !resumes && movinet_snapshot_save(stream, argv[3])) failed = complain();
  movinet_stream_free(stream);
  movinet_free(model);
  free(logits);
  free(frame);
  return failed;
}
