// Which of the compiled kernels this machine runs.
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels.h"

namespace movinet {

#if defined(__x86_64__)
namespace {

struct Processor {
  bool avx2 = false, avxvnni = false, avx512 = false, avx512vnni = false;
};

// What the processor has, and the system keeps the registers of. Not by __builtin_cpu_supports:
// the library that zig's compiler links says no to all of it.
Processor ask() {
  unsigned a, b, c, d, kept, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA) || !(c & bit_F16C)) return {};
  __asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return {};
  constexpr unsigned registers = 0x06, registers512 = 0xe6;  // in xgetbv's answer
  constexpr unsigned features512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
  Processor found;
  found.avx2 = (kept & registers) == registers && (b & bit_AVX2);
  found.avx512 = (kept & registers512) == registers512 && (b & features512) == features512;
  found.avx512vnni = found.avx512 && (c & bit_AVX512VNNI);
  constexpr unsigned avxvnni = 1 << 4;  // of leaf 7.1
  found.avxvnni = found.avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & avxvnni);
  return found;
}

}  // namespace
#elif defined(__aarch64__)
namespace {

bool has_dotprod() {
#if defined(__linux__)
  constexpr unsigned long asimddp = 1 << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & asimddp;
#else
  return true;  // every 64-bit Arm of Apple's that runs today's macOS
#endif
}

}  // namespace
#endif

const Kernels* const* available_kernels() {
  static const std::vector<const Kernels*> found = [] {
    std::vector<const Kernels*> sets;
// The set that is compiled under this name (in CMakeLists.txt), if this machine runs it.
#define MOVINET_SET(name, runs)              \
  if (runs) {                                \
    extern const Kernels kernels_##name;     \
    sets.push_back(&kernels_##name);         \
  }
#if defined(__x86_64__)
    const Processor processor = ask();
    MOVINET_SET(avx512vnni, processor.avx512vnni)
    MOVINET_SET(avx512, processor.avx512)
    MOVINET_SET(avxvnni, processor.avxvnni)
    MOVINET_SET(avx2, processor.avx2)
    MOVINET_SET(baseline, true)
#elif defined(__aarch64__)
    MOVINET_SET(dotprod, has_dotprod())
    MOVINET_SET(baseline, true)
#elif defined(__wasm_relaxed_simd__)
    MOVINET_SET(relaxed, true)  // a module has one set: engines refuse instructions they do not know
#elif defined(__wasm_simd128__)
    MOVINET_SET(simd128, true)
#endif
#if !defined(__wasm__)
    MOVINET_SET(plain, true)
#endif
#undef MOVINET_SET
    sets.push_back(nullptr);
    return sets;
  }();
  return found.data();
}

const Kernels* find_kernels(const char* name) {
  for (const Kernels* const* k = available_kernels(); *k; k++)
    if (!*name || !std::strcmp((*k)->name, name)) return *k;
  return nullptr;
}

}  // namespace movinet
