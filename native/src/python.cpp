// The module movinet._native: the engine for Python.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "arrays.h"
#include "error.h"
#include "mapping.h"
#include "network.h"

using namespace movinet;

namespace {

[[noreturn]] void refuse(const std::string& what) { throw Error(Error::Kind::usage, what); }

// The state of one stream.
struct State {
  explicit State(size_t size) : bytes(size) {}
  Bytes bytes;
};

class Engine {
 public:
  Engine(const std::string& path, const std::string& isa, int threads)
      : network_(Mapping(path).file(), isa.c_str(), threads) {}

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
    const auto pointers = checked(states, frames, decays);
    const size_t streams = states.size(), rows = frames.shape(0);
    Output logits = make_array({every_frame ? rows : streams, network_.header().classes});
    nb::gil_scoped_release release;
    network_.step(pointers.data(), static_cast<int>(streams), frames.data(), pixels(frames),
                  static_cast<int>(rows / streams), decays.data(), every_frame, logits.data());
    return logits;
  }

  // The same without the classifier -> embeddings (count * streams, head).
  Output embed(const std::vector<const State*>& states, const Frames& frames,
               const Input& decays) const {
    const auto pointers = checked(states, frames, decays);
    const Header& h = network_.header();
    const size_t streams = states.size(), rows = frames.shape(0);
    const bool bytes = pixels(frames) == Pixels::bytes;
    const size_t step = streams * h.height * h.width * 3 * (bytes ? 1 : sizeof(float));
    Output embeddings = make_array({rows, h.head});
    nb::gil_scoped_release release;
    for (size_t row = 0; row < rows; row += streams) {
      network_.step(pointers.data(), static_cast<int>(streams),
                    static_cast<const std::byte*>(frames.data()) + row / streams * step,
                    pixels(frames), 1, decays.data(), false, nullptr);
      for (size_t s = 0; s < streams; s++)
        network_.embedding(pointers[s], embeddings.data() + (row + s) * h.head);
    }
    return embeddings;
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
  static Pixels pixels(const Frames& frames) {
    return frames.dtype() == nb::dtype<uint8_t>() ? Pixels::bytes : Pixels::floats;
  }
  // The memory of states that are to see frames; refuses what does not fit.
  std::vector<std::byte*> checked(const std::vector<const State*>& states, const Frames& frames,
                                  const Input& decays) const {
    const Header& h = network_.header();
    const size_t streams = states.size(), rows = frames.ndim() == 4 ? frames.shape(0) : 0;
    if (streams == 0 || rows == 0 || rows % streams || frames.shape(1) != h.height ||
        frames.shape(2) != h.width || frames.shape(3) != 3 ||
        (pixels(frames) != Pixels::bytes && frames.dtype() != nb::dtype<float>()))
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
    return pointers;
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
      .def_prop_ro("multiplies_bytes",
                   [](const Engine& e) { return e.network().kernels().byte_product != nullptr; })
      .def_prop_ro("manifest",
                   [](const Engine& e) {
                     const std::string& text = e.network().manifest();
                     return nb::bytes(text.data(), text.size());
                   })
      .def_prop_ro("size",
                   [](const Engine& e) {
                     return std::pair{e.network().header().height, e.network().header().width};
                   })
      .def_prop_ro("precision",
                   [](const Engine& e) { return static_cast<int>(e.network().header().precision); })
      .def_prop_ro("classes", [](const Engine& e) { return e.network().header().classes; })
      .def_prop_ro("state_bytes", [](const Engine& e) { return e.network().state_bytes(); })
      .def_prop_ro("state_shapes", &Engine::shapes)
      .def("new_state", &Engine::new_state)
      .def("copy", &Engine::copy)
      .def("to_bytes", &Engine::to_bytes)
      .def("from_bytes", &Engine::from_bytes)
      .def("step", &Engine::step, nb::arg("states"), nb::arg("frames"), nb::arg("decays"),
           nb::arg("every_frame"))
      .def("embed", &Engine::embed, nb::arg("states"), nb::arg("frames"), nb::arg("decays"))
      .def("read", &Engine::read)
      .def("write", &Engine::write)
      .def("read_clock", &Engine::read_clock)
      .def("write_clock", &Engine::write_clock);
  m.def("available_kernels", &names);
}
