// Which of the compiled kernels this machine runs.
#include <cstring>

#include "kernels.h"

namespace movinet {

#if defined(__x86_64__)
extern const Kernels kernels_avx512vnni, kernels_avx512, kernels_avx2;
#endif
extern const Kernels kernels_baseline;

const Kernels* const* available_kernels() {
  static const Kernels* found[5] = {};
  static const bool ready = [] {
    int count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      if (__builtin_cpu_supports("avx512vnni")) found[count++] = &kernels_avx512vnni;
      found[count++] = &kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      found[count++] = &kernels_avx2;
#endif
    found[count] = &kernels_baseline;
    return true;
  }();
  (void)ready;
  return found;
}

const Kernels* find_kernels(const char* name) {
  for (const Kernels* const* k = available_kernels(); *k; k++)
    if (!*name || !std::strcmp((*k)->name, name)) return *k;
  return nullptr;
}

}  // namespace movinet
