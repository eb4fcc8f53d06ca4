/* Snapshots as files, over raw frames (bytes, as the model expects them):
 *
 *   movinet_snapshot save MODEL.mvn SNAPSHOT < FRAMES
 *   movinet_snapshot resume MODEL.mvn SNAPSHOT < FRAMES
 *
 * The first sees the frames and saves the stream, the second goes on from a file and sees them. Both
 * write the logits after each frame, one line each. With a word more, the model and the snapshot go
 * through memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "movinet.h"

static int complain(void) {
  fprintf(stderr, "%s\n", movinet_error());
  return 1;
}

static void* read_all(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) exit(3);
  *size = (size_t)ftell(file);
  rewind(file);
  void* bytes = malloc(*size ? *size : 1);
  if (!bytes || fread(bytes, 1, *size, file) != *size) exit(3);
  fclose(file);
  return bytes;
}

static int load(const char* path, int in_memory, movinet_model** model) {
  if (!in_memory) return movinet_load(path, 1, model);
  size_t size;
  void* bytes = read_all(path, &size);
  const int failed = movinet_load_memory(bytes, size, 1, model);
  memset(bytes, 0, size); /* it is not needed then */
  free(bytes);
  return failed;
}

static int resume(movinet_stream* stream, const char* path, int in_memory) {
  if (!in_memory) return movinet_snapshot_load(stream, path);
  size_t size;
  void* bytes = read_all(path, &size);
  const int failed = movinet_snapshot_read(stream, bytes, size);
  free(bytes);
  return failed;
}

static int save(const movinet_stream* stream, const char* path, int in_memory) {
  if (!in_memory) return movinet_snapshot_save(stream, path);
  size_t size, again;
  if (movinet_snapshot_write(stream, NULL, 0, &size)) return 1;
  void* bytes = malloc(size);
  if (!bytes || !movinet_snapshot_write(stream, bytes, size - 1, &again) || again != size) exit(4);
  if (movinet_snapshot_write(stream, bytes, size, &again)) return 1;
  FILE* file = fopen(path, "wb");
  if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) exit(3);
  free(bytes);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 2;
  const int in_memory = argc == 5;
  movinet_model* model;
  if (load(argv[2], in_memory, &model)) return complain();
  const movinet_info info = movinet_get_info(model);
  const size_t size = (size_t)3 * info.height * info.width;
  unsigned char* frame = malloc(size);
  float* logits = malloc((size_t)info.classes * sizeof *logits);
  movinet_stream* stream = movinet_stream_new(model);
  if (!frame || !logits || !stream) return 3;
  const int resumes = !strcmp(argv[1], "resume");
  int failed = resumes && resume(stream, argv[3], in_memory) ? complain() : 0;
  while (!failed && fread(frame, 1, size, stdin) == size) {
    failed = movinet_step(stream, frame, MOVINET_BYTES, 1, 1.f, logits) ? complain() : 0;
    for (int i = 0; i < info.classes; i++) printf("%s%.9g", i ? " " : "", logits[i]);
    printf("\n");
  }
  if (!failed && !resumes && save(stream, argv[3], in_memory)) failed = complain();
  movinet_stream_free(stream);
  movinet_free(model);
  free(logits);
  free(frame);
  return failed;
}
