// The module movinet._native_kernels: each kernel alone, on plain arrays, for tests and benchmarks.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <stdexcept>

#include "arrays.h"
#include "half.h"
#include "kernels.h"

namespace movinet {

// A line SET(name) for each instruction set that is compiled; CMake writes it.
#define SET(name) int64_t spin_##name(int64_t multiply_adds);
#include "compiled_sets.h"
#undef SET

namespace {

using IntegerInput = nb::ndarray<const int16_t, nb::c_contig, nb::device::cpu>;
using ByteInput = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;

// By their numbers.
constexpr const char* kActivations[] = {"none",  "relu6",        "hard_swish",
                                        "swish", "hard_sigmoid", "sigmoid"};
static_assert(std::size(kActivations) == static_cast<size_t>(Activation::count));

// All that are compiled, for this machine or not.
constexpr struct {
  const char* name;
  int64_t (*spin)(int64_t);
} kCompiled[] = {
#define SET(name) {#name, spin_##name},
#include "compiled_sets.h"
#undef SET
};

const Kernels& kernels(const std::string& isa) {
  const Kernels* found = find_kernels(isa.c_str());
  if (!found) throw std::invalid_argument("no such kernels");
  return *found;
}

// The zero point of bytes, if there is one and the kernels have products of bytes.
std::optional<int> checked(const Kernels& k, std::optional<int> zero) {
  if (zero && !k.byte_product) throw std::invalid_argument("no products of bytes here");
  return zero;
}

// (rows, channels) to [panel][rows][16]; lanes of padding hold `fill`.
std::vector<float> to_panels(const float* values, size_t rows, size_t channels, float fill = 0) {
  std::vector<float> out(rows * padded(channels), fill);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < channels; c++)
      out[(c / kPanel * rows + r) * kPanel + c % kPanel] = *values++;
  return out;
}

Output from_panels(const std::vector<float>& in, std::vector<size_t> shape) {
  Output out = make_array(shape);
  const size_t channels = shape.back();
  size_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); i++) rows *= shape[i];
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < channels; c++)
      out.data()[r * channels + c] = in[(c / kPanel * rows + r) * kPanel + c % kPanel];
  return out;
}

constexpr float kGarbage = 1e30f;  // in lanes that no kernel may take for a channel

Output test_product(const std::string& isa, const Input& a, const Input& b, const Input& bias,
                    std::optional<Input> residual, int activation) {
  const size_t rows = a.shape(0), inputs = a.shape(1), outputs = b.shape(1);
  const auto left = to_panels(a.data(), rows, inputs, kGarbage);
  const auto right = to_panels(b.data(), inputs, outputs);
  const auto offset = to_panels(bias.data(), 1, outputs);
  std::vector<float> more, c(rows * padded(outputs), kGarbage);
  if (residual) more = to_panels(residual->data(), rows, outputs, kGarbage);
  kernels(isa).product({left.data(), rows * kPanel, right.data(), offset.data(),
                        residual ? more.data() : nullptr, c.data(), rows * kPanel,
                        static_cast<int>(rows), static_cast<int>(inputs),
                        static_cast<int>(outputs), static_cast<Activation>(activation)});
  return from_panels(c, {rows, outputs});
}

// `a_scales` is of the rows, or one for all. With a `zero`, a is of bytes, from 0 to 255.
Output test_integer_product(const std::string& isa, const IntegerInput& a, const ByteInput& b,
                            const Input& scale, const Input& a_scales, const Input& bias,
                            std::optional<Input> residual, int activation,
                            std::optional<int> zero) {
  const Kernels& k = kernels(isa);
  const size_t rows = a.shape(0), inputs = a.shape(1), outputs = b.shape(1);
  const size_t of = checked(k, zero) ? 4 : 2, groups = (inputs + of - 1) / of;
  std::vector<int16_t> left(rows * padded(inputs), 0x5555);
  std::vector<uint8_t> left_bytes(rows * padded(inputs), 0x55);
  std::vector<int8_t> right(of * groups * padded(outputs));
  std::vector<int32_t> sums(padded(outputs));
  for (size_t i = 0; i < inputs; i++) {
    for (size_t r = 0; r < rows; r++) {
      const size_t at = (i / kPanel * rows + r) * kPanel + i % kPanel;
      left[at] = a.data()[r * inputs + i];
      left_bytes[at] = static_cast<uint8_t>(left[at] + k.lowest_byte);
    }
    for (size_t n = 0; n < outputs; n++) {
      const int8_t weight = b.data()[i * outputs + n];
      right[((n / kPanel * groups + i / of) * kPanel + n % kPanel) * of + i % of] = weight;
      sums[n] += weight;
    }
  }
  const auto scales = to_panels(scale.data(), 1, outputs);
  const auto offset = to_panels(bias.data(), 1, outputs);
  std::vector<float> more, c(rows * padded(outputs), kGarbage);
  if (residual) more = to_panels(residual->data(), rows, outputs, kGarbage);
  const void* values = left.data();
  if (zero) values = left_bytes.data();
  IntegerProduct p{values, rows * kPanel, right.data(), scales.data(),
                   a_scales.data(), a_scales.size() > 1, offset.data(),
                   residual ? more.data() : nullptr, c.data(),
                   rows * kPanel, static_cast<int>(rows), static_cast<int>(inputs),
                   static_cast<int>(outputs), static_cast<Activation>(activation)};
  if (zero) {
    p.zero = *zero + k.lowest_byte;
    p.b_sums = sums.data();
  }
  (zero ? k.byte_product : k.integer_product)(p);
  return from_panels(c, {rows, outputs});
}

// What `range` finds of x (places, channels), and x as `quantize` makes it 16 bits, or, with a
// `zero`, as `quantize_bytes` makes it numbers from 0 to 255.
std::vector<Output> test_quantize(const std::string& isa, const Input& x, const Input& scale,
                                  std::optional<int> zero) {
  const Kernels& k = kernels(isa);
  const size_t places = x.shape(0), channels = x.shape(1), size = places * kPanel;
  const auto in = to_panels(x.data(), places, channels, kGarbage);
  const auto scales = to_panels(scale.data(), 1, channels);
  std::vector<float> least(padded(channels)), greatest(padded(channels)), out(in.size());
  std::vector<int16_t> words(size);
  std::vector<uint8_t> bytes(size);
  for (size_t p = 0; p < panels(channels); p++) {
    const float* from = in.data() + p * size;
    k.range(from, &least[p * kPanel], &greatest[p * kPanel], places);
    if (checked(k, zero))
      k.quantize_bytes(from, &scales[p * kPanel], *zero + k.lowest_byte, bytes.data(), places);
    else
      k.quantize(from, &scales[p * kPanel], words.data(), places);
    for (size_t i = 0; i < size; i++)
      out[p * size + i] =
          zero ? static_cast<float>(static_cast<uint8_t>(bytes[i] - k.lowest_byte)) : words[i];
  }
  return {from_panels(least, {channels}), from_panels(greatest, {channels}),
          from_panels(out, {places, channels})};
}

// Weights as Kernels::dense wants them are made by the network; here they are its integers.
Output test_dense(const std::string& isa, const Input& a, const IntegerInput& b,
                  const Input& scale, const Input& bias, int activation) {
  const size_t rows = a.shape(0), inputs = a.shape(1), outputs = b.shape(1);
  const auto left = to_panels(a.data(), rows, inputs, kGarbage);
  const auto offset = to_panels(bias.data(), 1, outputs);
  const auto scales = to_panels(scale.data(), scale.shape(0), outputs);
  std::vector<int16_t> right(inputs * padded(outputs));
  for (size_t k = 0; k < inputs; k++)
    for (size_t n = 0; n < outputs; n++)
      right[(n / kPanel * inputs + k) * kPanel + n % kPanel] = b.data()[k * outputs + n];
  std::vector<float> c(rows * padded(outputs), kGarbage);
  kernels(isa).dense({left.data(), right.data(), scales.data(), offset.data(), c.data(),
                      static_cast<int>(rows), static_cast<int>(inputs),
                      static_cast<int>(outputs), static_cast<Activation>(activation)});
  return from_panels(c, {rows, outputs});
}

// x (height, width, channels) already padded, w (k, k, channels); also the sums over places.
std::pair<Output, Output> test_depthwise(const std::string& isa, const Input& x, const Input& w,
                                         const Input& bias, int stride, int activation) {
  const size_t height = x.shape(0), width = x.shape(1), channels = x.shape(2), k = w.shape(0);
  const size_t out_height = (height - k) / stride + 1, out_width = (width - k) / stride + 1;
  const auto in = to_panels(x.data(), height * width, channels, kGarbage);
  const auto weight = to_panels(w.data(), k * k, channels);
  const auto offset = to_panels(bias.data(), 1, channels);
  std::vector<float> out(out_height * out_width * padded(channels)), sums(padded(channels));
  for (size_t p = 0; p < panels(channels); p++) {
    std::vector<const float*> rows;
    for (size_t row = 0; row < height; row++)
      rows.push_back(in.data() + (p * height + row) * width * kPanel);
    kernels(isa).depthwise(
        {rows.data(), weight.data() + p * k * k * kPanel, offset.data() + p * kPanel,
         out.data() + p * out_height * out_width * kPanel, sums.data() + p * kPanel,
         static_cast<int>(out_height), static_cast<int>(out_width), static_cast<int>(k), stride,
         static_cast<int>(channels - p * kPanel), static_cast<Activation>(activation)});
  }
  return {from_panels(out, {out_height, out_width, channels}), from_panels(sums, {channels})};
}

// frames (k, places, channels), the newest last: the output, its sums, and what took the place of
// the oldest frame. With `halves`, the older ones are floats of 16 bits.
std::vector<Output> test_taps(const std::string& isa, const Input& frames, const Input& w,
                              const Input& bias, int activation, bool halves) {
  const size_t k = frames.shape(0), places = frames.shape(1), channels = frames.shape(2);
  std::vector<std::vector<float>> all;
  std::vector<std::vector<uint16_t>> small(k);
  for (size_t t = 0; t < k; t++) {
    all.push_back(to_panels(frames.data() + t * places * channels, places, channels, kGarbage));
    for (float x : all[t]) small[t].push_back(to_half(x));
  }
  const auto weight = to_panels(w.data(), k, channels), offset = to_panels(bias.data(), 1, channels);
  std::vector<float> out(places * padded(channels)), sums(padded(channels));
  for (size_t p = 0; p < panels(channels); p++) {
    const size_t at = p * places * kPanel;
    std::vector<void*> past;
    for (size_t t = 0; t + 1 < k; t++)
      past.push_back(halves ? static_cast<void*>(small[t].data() + at) : all[t].data() + at);
    kernels(isa).taps({all[k - 1].data() + at, past.data(), halves,
                       weight.data() + p * k * kPanel, offset.data() + p * kPanel,
                       out.data() + at, sums.data() + p * kPanel, static_cast<int>(places),
                       static_cast<int>(k), static_cast<int>(channels - p * kPanel),
                       static_cast<Activation>(activation)});
  }
  if (halves) std::transform(small[0].begin(), small[0].end(), all[0].begin(), from_half);
  return {from_panels(out, {places, channels}), from_panels(sums, {channels}),
          from_panels(all[0], {places, channels})};
}

Output test_average_pool(const std::string& isa, const Input& x) {
  const size_t height = x.shape(0), width = x.shape(1), channels = x.shape(2);
  const size_t out_height = (height + 1) / 2, out_width = (width + 1) / 2;
  const auto in = to_panels(x.data(), height * width, channels, kGarbage);
  std::vector<float> out(out_height * out_width * padded(channels));
  for (size_t p = 0; p < panels(channels); p++)
    kernels(isa).average_pool(in.data() + p * height * width * kPanel, static_cast<int>(height),
                              static_cast<int>(width), static_cast<int>(channels - p * kPanel),
                              out.data() + p * out_height * out_width * kPanel);
  return from_panels(out, {out_height, out_width, channels});
}

int64_t spin(const std::string& isa, int64_t multiply_adds) {
  const std::string name = kernels(isa).name;  // refuses what this machine does not run
  for (const auto& set : kCompiled)
    if (name == set.name) return set.spin(multiply_adds);
  throw std::logic_error("a set that nobody compiled");
}

template <class Names>
nb::tuple tuple_of(const Names& names) {
  nb::list all;
  for (const char* name : names) all.append(name);
  return nb::tuple(all);
}

}  // namespace
}  // namespace movinet

NB_MODULE(_native_kernels, m) {
  using namespace movinet;
  std::vector<const char*> compiled;
  for (const auto& set : kCompiled) compiled.push_back(set.name);
  m.attr("COMPILED") = tuple_of(compiled);
  m.attr("ACTIVATIONS") = tuple_of(kActivations);
  m.def("product", &test_product, nb::arg("isa"), nb::arg("a"), nb::arg("b"), nb::arg("bias"),
        nb::arg("residual").none(), nb::arg("activation"));
  m.def("integer_product", &test_integer_product, nb::arg("isa"), nb::arg("a"), nb::arg("b"),
        nb::arg("scale"), nb::arg("a_scales"), nb::arg("bias"), nb::arg("residual").none(),
        nb::arg("activation"), nb::arg("zero") = nb::none());
  m.def("quantize", &test_quantize, nb::arg("isa"), nb::arg("x"), nb::arg("scale"),
        nb::arg("zero").none());
  m.def("has_bytes", [](const std::string& isa) { return kernels(isa).byte_product != nullptr; });
  m.def("dense", &test_dense);
  m.def("depthwise", &test_depthwise);
  m.def("taps", &test_taps);
  m.def("average_pool", &test_average_pool);
  m.def("spin", &spin);
}
