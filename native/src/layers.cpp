// Layers that multiply, of each kind of weights, shared out to the team.
#include <algorithm>
#include <cmath>

#include "network.h"

namespace movinet {
namespace {

// The larger one; NaN if one of them is.
float larger(float a, float b) { return a >= b || std::isnan(a) ? a : b; }

// What takes less than a few microseconds is not worth a team's attention.
constexpr int64_t kWorthSharing = 200'000;

void take_rows(Product& p, Share s) { p.ahead = s.begin ? nullptr : p.ahead; }
void take_rows(IntegerProduct& p, Share s) {
  p.a_scales += s.begin * p.a_scale_step;
  p.ahead = s.begin ? nullptr : p.ahead;
}

void take_outputs(Product& p, Share s) {
  p.b += static_cast<size_t>(s.begin) * p.inputs;
  p.ahead = s.begin ? nullptr : p.ahead;
}
void take_outputs(IntegerProduct& p, Share s) {
  p.b += static_cast<size_t>(s.begin) * ((p.inputs + 1) / 2 * 2);
  p.scale += s.begin;
  p.ahead = s.begin ? nullptr : p.ahead;
}

// The kernel for a share of the rows or, where they are few, of the outputs.
template <class P>
void share_out(Team& team, void (*kernel)(const P&), const P& whole) {
  if (team.size() == 1 ||
      int64_t{whole.rows} * whole.inputs * whole.outputs < kWorthSharing)
    return kernel(whole);
  const bool by_rows = whole.rows >= 16 * team.size();
  team.run([&](int member) {
    P p = whole;
    const Share s = share(by_rows ? p.rows : p.outputs, by_rows ? 1 : kPanel, member, team.size());
    if (s.begin == s.end) return;
    size_t to = static_cast<size_t>(s.begin) * kPanel;
    if (by_rows) {
      p.a += to;
      p.rows = s.end - s.begin;
      take_rows(p, s);
    } else {
      to = s.begin / kPanel * p.c_panel;
      p.bias += s.begin;
      p.outputs = s.end - s.begin;
      take_outputs(p, s);
    }
    p.c += to;
    if (p.residual) p.residual += to;
    kernel(p);
  });
}

void share_out(Team& team, void (*kernel)(const Dense&), const Dense& whole) {
  team.run([&](int member) {
    Dense d = whole;
    const Share s = share(d.outputs, kPanel, member, team.size());
    if (s.begin == s.end) return;
    const size_t runs = (d.inputs + kRun - 1) / kRun;
    d.b += static_cast<size_t>(s.begin) * d.inputs;
    d.scale += s.begin * runs;
    d.bias += s.begin;
    d.c += static_cast<size_t>(s.begin) * d.rows;
    d.outputs = s.end - s.begin;
    kernel(d);
  });
}

}  // namespace

Product pointwise(const Layer& layer, const float* in, float* out, int rows, Activation a) {
  const size_t panel = static_cast<size_t>(rows) * kPanel;
  return {in, panel, layer.weight, layer.bias, nullptr, out, panel, rows, layer.inputs,
          layer.outputs, a};
}

void Network::multiply(Workspace& w, const Layer& layer, const Product& p, int count,
                       const float* gates) const {
  Team& team = *w.team;
  if (layer.weight) return share_out(team, kernels_->product, p);
  if (layer.runs)
    return share_out(team, kernels_->dense,
                     Dense{p.a, layer.runs, layer.scale, p.bias, p.c, p.rows, p.inputs, p.outputs,
                           p.activation});
  const int places = p.rows / count;
  quantize(w, layer, p.a, places, count, gates);
  // Vectors share the weights; where an item has many places, they are read often anyway.
  const int calls = places == 1 ? 1 : count;
  for (int i = 0; i < calls; i++) {
    const size_t at = static_cast<size_t>(i) * places * kPanel;
    share_out(team, kernels_->integer_product,
              IntegerProduct{w.integers + at, p.a_panel, layer.integers, layer.scale,
                             w.a_scales + i, places == 1, p.bias,
                             p.residual ? p.residual + at : nullptr, p.c + at, p.c_panel,
                             p.rows / calls, p.inputs, p.outputs, p.activation, p.ahead});
  }
}

void Network::quantize(Workspace& w, const Layer& layer, const float* in, int places, int count,
                       const float* gates) const {
  // As many bits as the sums of 32 bits have room for. Exported weights are 127 at most; those of a
  // file from elsewhere may be -128.
  const float limit = std::min(32767.f, std::floor(2147483647.f / (128.f * layer.inputs)) - 1);
  const size_t size = static_cast<size_t>(places) * kPanel;
  // work(member, item, where its values of a panel start, their gates, how many are channels)
  const auto for_panels = [&](auto&& work) {
    w.team->run([&](int member) {
      const Share s = share(layer.inputs, kPanel, member, w.team->size());
      for (int i = 0; i < count; i++)
        for (int channel = s.begin; channel < s.end; channel += kPanel) {
          const size_t panel = channel / kPanel * count + i;
          float gate[kPanel];
          for (int j = 0; j < kPanel; j++) gate[j] = gates ? gates[panel * kPanel + j] : 1.f;
          work(member, i, panel * size, gate, std::min(kPanel, s.end - channel));
        }
    });
  };
  for (Scratch& scratch : w.scratch) std::fill_n(scratch.most, count, 0.f);
  for_panels([&](int member, int i, size_t at, const float* gate, int channels) {
    float found[kPanel];
    kernels_->largest(in + at, gate, found, places);
    float& most = w.scratch[member].most[i];
    for (int j = 0; j < channels; j++) most = larger(most, found[j]);
  });
  float units[kGroup];
  for (int i = 0; i < count; i++) {
    float most = 0;
    for (const Scratch& scratch : w.scratch) most = larger(most, scratch.most[i]);
    w.a_scales[i] = most / limit;
    units[i] = most > 0 ? limit / most : 0.f;
  }
  for_panels([&](int, int i, size_t at, const float* gate, int) {
    float scale[kPanel];
    for (int j = 0; j < kPanel; j++) scale[j] = gate[j] * units[i];
    kernels_->quantize(in + at, scale, w.integers + at, places);
  });
}

}  // namespace movinet
