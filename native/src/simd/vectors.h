// Vectors of kLanes numbers, which a set's file defines before it includes this one.
//
// The compilers' own vector types do most of the arithmetic (+, *, and a multiply-add where the
// target has one, by -ffp-contract=fast). For the rest each instruction set has names of its own:
// there is a file for each beside this one, and all of them define the same names.
#pragma once

#include <cstdint>

#define MOVINET_INLINE [[gnu::always_inline]] inline

namespace movinet {
namespace {

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef float Unaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(kLanes * 4)));

MOVINET_INLINE Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
MOVINET_INLINE void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }

MOVINET_INLINE Integers splat(int32_t x) { return x - Integers{}; }
MOVINET_INLINE Vector to_floats(Integers v) { return __builtin_convertvector(v, Vector); }
MOVINET_INLINE Vector splat(float x) { return x - Vector{}; }

}  // namespace
}  // namespace movinet
