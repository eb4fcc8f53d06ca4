/* The first and only program of an emulated machine, see tests/native/native_emulator.py. Runs
 * movinet_replay over every case that /plan names, "NAME STREAMS" a line, and writes to the second
 * serial line what it says, and "NAME LOGITS" in hexadecimal; "done" at the end if all went well.
 * Then it resets the machine, which ends the emulator.
 */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* Returns whether the program ended well. */
static int replay(const char* name, char* streams, FILE* out) {
  static unsigned char logits[1 << 20];
  char model[256], frames[256];
  snprintf(model, sizeof model, "/%s.mvn", name);
  snprintf(frames, sizeof frames, "/%s.f32", name);
  int ends[2], status = 0;
  if (pipe(ends)) return 0;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(fileno(out), 2);
    close(ends[0]);
    execl("/movinet_replay", "movinet_replay", model, frames, streams, (char*)NULL);
    _exit(127);
  }
  close(ends[1]);
  FILE* said = fdopen(ends[0], "r");
  const size_t size = fread(logits, 1, sizeof logits, said);
  fclose(said);
  waitpid(child, &status, 0);
  fprintf(out, "%s ", name);
  for (size_t i = 0; i < size; i++) fprintf(out, "%02x", logits[i]);
  fprintf(out, "\n");
  fflush(out);
  return status == 0;
}

int main(void) {
  mkdir("/dev", 0700);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  FILE *out = fopen("/dev/ttyS1", "w"), *plan = fopen("/plan", "r");
  if (!out || !plan) return 1;
  struct termios line;
  tcgetattr(fileno(out), &line);
  cfsetspeed(&line, B115200);
  tcsetattr(fileno(out), TCSANOW, &line);
  char name[128], streams[16];
  int well = 1;
  while (fscanf(plan, "%127s %15s", name, streams) == 2) well &= replay(name, streams, out);
  fprintf(out, "%s\n", well ? "done" : "failed");
  fflush(out);
  tcdrain(fileno(out));
  reboot(RB_AUTOBOOT);
  return 0;
}
