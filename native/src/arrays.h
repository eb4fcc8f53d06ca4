// Arrays that Python and the engine hand to each other.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <vector>

namespace movinet {

namespace nb = nanobind;

using Input = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Frames = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::numpy, float, nb::c_contig>;

inline Output make_array(std::vector<size_t> shape) {
  size_t size = 1;
  for (size_t side : shape) size *= side;
  float* data = new float[size]();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  return Output(data, shape.size(), shape.data(), owner);
}

}  // namespace movinet
