// The module movinet._native: the engine for Python, and each kernel alone for the tests.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>

#include "error.h"
#include "network.h"

namespace nb = nanobind;
using namespace movinet;

namespace {

using Input = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Frames = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using IntegerInput = nb::ndarray<const int16_t, nb::c_contig, nb::device::cpu>;
using ByteInput = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::numpy, float, nb::c_contig>;

Output make_array(std::vector<size_t> shape) {
  size_t size = 1;
  for (size_t side : shape) size *= side;
  float* data = new float[size]();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  return Output(data, shape.size(), shape.data(), owner);
}

[[noreturn]] void refuse(const std::string& what) { throw Error(Error::Kind::usage, what); }

// The state of one stream.
struct State {
  explicit State(size_t size) : bytes(size) {}
  Bytes bytes;
};

class Engine {
 public:
  Engine(const std::string& path, const std::string& isa, int threads)
      : network_(path, isa.c_str(), threads) {}

  const Network& network() const { return network_; }

  State* new_state() const { return new State(network_.state_bytes()); }

  State* copy(const State& state) const {
    auto* made = new_state();
    std::memcpy(made->bytes.data(), own(state), network_.state_bytes());
    return made;
  }

  nb::bytes to_bytes(const State& state) const {
    return nb::bytes(own(state), network_.state_bytes());
  }

  State* from_bytes(const nb::bytes& bytes) const {
    if (bytes.size() != network_.state_bytes())
      refuse("a state of this model has " + std::to_string(network_.state_bytes()) +
             " bytes, not " + std::to_string(bytes.size()));
    auto* made = new_state();
    std::memcpy(made->bytes.data(), bytes.data(), bytes.size());
    if (reinterpret_cast<StateHeader*>(made->bytes.data())->frame_count < 0) {
      delete made;
      refuse("a state's frame_count cannot be negative");
    }
    return made;
  }

  // frames (count * streams, height, width, 3), time before streams, float32 or uint8 -> logits
  // (count * streams or streams, classes).
  Output step(const std::vector<const State*>& states, const Frames& frames, const Input& decays,
              bool every_frame) const {
    const Header& h = network_.header();
    const size_t streams = states.size(), rows = frames.ndim() == 4 ? frames.shape(0) : 0;
    const bool bytes = frames.dtype() == nb::dtype<uint8_t>();
    if (streams == 0 || rows == 0 || rows % streams || frames.shape(1) != h.height ||
        frames.shape(2) != h.width || frames.shape(3) != 3 ||
        (!bytes && frames.dtype() != nb::dtype<float>()))
      refuse("frames must be (frames * streams, " + std::to_string(h.height) + ", " +
             std::to_string(h.width) + ", 3) float32 or uint8, for " + std::to_string(streams) +
             " streams");
    if (decays.size() != streams) refuse("there must be one decay for each stream");
    std::vector<std::byte*> pointers;
    for (const State* state : states) {
      for (std::byte* other : pointers)
        if (other == state->bytes.data()) refuse("the same state twice in one step");
      pointers.push_back(own(*state));
    }
    for (size_t s = 0; s < streams; s++)
      if (!(decays.data()[s] > 0 && decays.data()[s] <= 1)) refuse("decay must be in (0, 1]");
    Output logits = make_array({every_frame ? rows : streams, h.classes});
    nb::gil_scoped_release release;
    network_.step(pointers.data(), static_cast<int>(streams), frames.data(),
                  bytes ? Pixels::bytes : Pixels::floats, static_cast<int>(rows / streams),
                  decays.data(), every_frame, logits.data());
    return logits;
  }

  Output read(const State& state, int part) const {
    const StatePart& p = checked(part);
    Output values = make_array(shape(p));
    own(state);
    network_.read(state.bytes.data(), part, values.data());
    return values;
  }

  void write(State& state, int part, const Input& values) const {
    size_t wanted = 1;
    for (size_t side : shape(checked(part))) wanted *= side;
    if (values.size() != wanted) refuse("a part of a state has the wrong size");
    network_.write(own(state), part, values.data());
  }

  std::vector<std::vector<size_t>> shapes() const {
    std::vector<std::vector<size_t>> all;
    for (const StatePart& p : network_.state_parts()) all.push_back(shape(p));
    return all;
  }

  std::pair<int64_t, float> read_clock(const State& state) const {
    const auto& header = *reinterpret_cast<StateHeader*>(own(state));
    return {header.frame_count, header.pool_weight};
  }

  void write_clock(State& state, int64_t frame_count, float pool_weight) const {
    if (frame_count < 0) refuse("a state's frame_count cannot be negative");
    auto& header = *reinterpret_cast<StateHeader*>(own(state));
    header.frame_count = frame_count;
    header.pool_weight = pool_weight;
  }

 private:
  std::byte* own(const State& state) const {
    if (state.bytes.size() != network_.state_bytes()) refuse("the state is of another model");
    return state.bytes.data();
  }
  const StatePart& checked(int part) const {
    if (part < 0 || part >= static_cast<int>(network_.state_parts().size()))
      refuse("there is no such part of the state");
    return network_.state_parts()[part];
  }
  // (frames, height, width, channels) of a ring, (channels,) of a sum.
  static std::vector<size_t> shape(const StatePart& p) {
    if (p.frames == 0) return {static_cast<size_t>(p.channels)};
    return {static_cast<size_t>(p.frames), static_cast<size_t>(p.size.height),
            static_cast<size_t>(p.size.width), static_cast<size_t>(p.channels)};
  }

  Network network_;
};

// The kernels alone, on plain arrays ---------------------------------------------------------------

const Kernels& kernels(const std::string& isa) {
  const Kernels* found = find_kernels(isa.c_str());
  if (!found) refuse("no such kernels");
  return *found;
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

// `a_scales` is of the rows, or one for all.
Output test_integer_product(const std::string& isa, const IntegerInput& a, const ByteInput& b,
                            const Input& scale, const Input& a_scales, const Input& bias,
                            std::optional<Input> residual, int activation) {
  const size_t rows = a.shape(0), inputs = a.shape(1), outputs = b.shape(1);
  const size_t pairs = (inputs + 1) / 2;
  std::vector<int16_t> left(rows * padded(inputs), 0x5555);
  std::vector<int8_t> right(2 * pairs * padded(outputs));
  for (size_t k = 0; k < inputs; k++) {
    for (size_t r = 0; r < rows; r++)
      left[(k / kPanel * rows + r) * kPanel + k % kPanel] = a.data()[r * inputs + k];
    for (size_t n = 0; n < outputs; n++)
      right[((n / kPanel * pairs + k / 2) * kPanel + n % kPanel) * 2 + k % 2] =
          b.data()[k * outputs + n];
  }
  const auto scales = to_panels(scale.data(), 1, outputs);
  const auto offset = to_panels(bias.data(), 1, outputs);
  std::vector<float> more, c(rows * padded(outputs), kGarbage);
  if (residual) more = to_panels(residual->data(), rows, outputs, kGarbage);
  kernels(isa).integer_product({left.data(), rows * kPanel, right.data(), scales.data(),
                                a_scales.data(), a_scales.size() > 1, offset.data(),
                                residual ? more.data() : nullptr, c.data(),
                                rows * kPanel, static_cast<int>(rows), static_cast<int>(inputs),
                                static_cast<int>(outputs), static_cast<Activation>(activation)});
  return from_panels(c, {rows, outputs});
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
  for (size_t p = 0; p < panels(channels); p++)
    for (size_t o = 0; o < out_height; o++) {
      std::vector<const float*> rows;
      for (size_t u = 0; u < k; u++)
        rows.push_back(in.data() + (p * height + o * stride + u) * width * kPanel);
      kernels(isa).depthwise(
          {rows.data(), weight.data() + p * k * k * kPanel, offset.data() + p * kPanel,
           out.data() + (p * out_height + o) * out_width * kPanel, sums.data() + p * kPanel,
           static_cast<int>(out_width), static_cast<int>(k), stride,
           static_cast<int>(channels - p * kPanel), static_cast<Activation>(activation)});
    }
  return {from_panels(out, {out_height, out_width, channels}), from_panels(sums, {channels})};
}

// frames (k, places, channels), the newest last: the output, its sums, and what took the place of
// the oldest frame.
std::vector<Output> test_taps(const std::string& isa, const Input& frames, const Input& w,
                              const Input& bias, int activation) {
  const size_t k = frames.shape(0), places = frames.shape(1), channels = frames.shape(2);
  std::vector<std::vector<float>> all;
  for (size_t t = 0; t < k; t++)
    all.push_back(to_panels(frames.data() + t * places * channels, places, channels, kGarbage));
  const auto weight = to_panels(w.data(), k, channels), offset = to_panels(bias.data(), 1, channels);
  std::vector<float> out(places * padded(channels)), sums(padded(channels));
  for (size_t p = 0; p < panels(channels); p++) {
    const size_t at = p * places * kPanel;
    std::vector<float*> past;
    for (size_t t = 0; t + 1 < k; t++) past.push_back(all[t].data() + at);
    kernels(isa).taps({all[k - 1].data() + at, past.data(), weight.data() + p * k * kPanel,
                       offset.data() + p * kPanel, out.data() + at, sums.data() + p * kPanel,
                       static_cast<int>(places), static_cast<int>(k),
                       static_cast<int>(channels - p * kPanel),
                       static_cast<Activation>(activation)});
  }
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

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const Kernels* const* k = available_kernels(); *k; k++) all.emplace_back((*k)->name);
  return all;
}

}  // namespace

NB_MODULE(_native, m) {
  static nb::exception<Error> base(m, "Error");
  static PyObject* file_error = nb::exception<Error>(m, "FileError", base.ptr()).ptr();
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const Error& error) {
      PyErr_SetString(error.kind == Error::Kind::file ? file_error : base.ptr(), error.what());
    }
  });
  nb::class_<State>(m, "State");
  nb::class_<Engine>(m, "Engine")
      .def(nb::init<const std::string&, const std::string&, int>(), nb::arg("path"),
           nb::arg("kernels") = "", nb::arg("threads") = 1)
      .def_prop_ro("kernels", [](const Engine& e) { return e.network().kernels().name; })
      .def_prop_ro("manifest",
                   [](const Engine& e) {
                     const std::string& text = e.network().manifest();
                     return nb::bytes(text.data(), text.size());
                   })
      .def_prop_ro("size",
                   [](const Engine& e) {
                     return std::pair{e.network().header().height, e.network().header().width};
                   })
      .def_prop_ro("classes", [](const Engine& e) { return e.network().header().classes; })
      .def_prop_ro("state_bytes", [](const Engine& e) { return e.network().state_bytes(); })
      .def_prop_ro("state_shapes", &Engine::shapes)
      .def("new_state", &Engine::new_state)
      .def("copy", &Engine::copy)
      .def("to_bytes", &Engine::to_bytes)
      .def("from_bytes", &Engine::from_bytes)
      .def("step", &Engine::step, nb::arg("states"), nb::arg("frames"), nb::arg("decays"),
           nb::arg("every_frame"))
      .def("read", &Engine::read)
      .def("write", &Engine::write)
      .def("read_clock", &Engine::read_clock)
      .def("write_clock", &Engine::write_clock);
  m.def("available_kernels", &names);
  nb::module_ tests = m.def_submodule("kernels", "Each kernel alone, on plain arrays.");
  tests.def("product", &test_product, nb::arg("isa"), nb::arg("a"), nb::arg("b"), nb::arg("bias"),
            nb::arg("residual").none(), nb::arg("activation"));
  tests.def("integer_product", &test_integer_product, nb::arg("isa"), nb::arg("a"), nb::arg("b"),
            nb::arg("scale"), nb::arg("a_scales"), nb::arg("bias"), nb::arg("residual").none(),
            nb::arg("activation"));
  tests.def("dense", &test_dense);
  tests.def("depthwise", &test_depthwise);
  tests.def("taps", &test_taps);
  tests.def("average_pool", &test_average_pool);
  tests.def("spin", [](const std::string& isa, int64_t multiply_adds) {
    return kernels(isa).spin(multiply_adds);
  });
}
