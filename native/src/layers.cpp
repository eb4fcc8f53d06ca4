// Layers that multiply, of each kind of weights, shared out to the team.
#include <algorithm>
#include <cmath>

#include "network.h"

namespace movinet {
namespace {

// The larger or smaller one; NaN if one of them is.
float larger(float a, float b) { return a >= b || std::isnan(a) ? a : b; }
float smaller(float a, float b) { return a <= b || std::isnan(a) ? a : b; }

// What takes less than a few microseconds is not worth a team's attention.
constexpr int64_t kWorthSharing = 200'000;

void take_rows(Product& p, Share s) { p.a += static_cast<size_t>(s.begin) * kPanel; }

void take_rows(IntegerProduct& p, Share s) {
  p.a = static_cast<const std::byte*>(p.a) + size_t{p.b_sums ? 1u : 2u} * s.begin * kPanel;
  p.a_scales += s.begin * p.a_scale_step;
}

void take_outputs(Product& p, Share s) { p.b += static_cast<size_t>(s.begin) * p.inputs; }

void take_outputs(IntegerProduct& p, Share s) {
  const size_t of = p.b_sums ? 4 : 2;
  p.b += (p.inputs + of - 1) / of * of * s.begin;
  p.scale += s.begin;
  if (p.b_sums) p.b_sums += s.begin;
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
    if (s.begin) p.ahead = nullptr;  // one of them fetches
    size_t to = static_cast<size_t>(s.begin) * kPanel;
    if (by_rows) {
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

IntegerProduct of_integers(const Workspace& w, const Layer& layer, const Product& p, size_t at,
                           int item, int channel) {
  IntegerProduct integers{w.integers + layer.input_bytes() * at,
                          p.a_panel,
                          layer.integers + layer.weight_bytes() * channel,
                          layer.scale + channel,
                          w.a_scales + item,
                          0,
                          p.bias,
                          p.residual,
                          p.c,
                          p.c_panel,
                          p.rows,
                          p.inputs,
                          p.outputs,
                          p.activation,
                          p.ahead,
                          w.zeros[item]};
  if (layer.sums) integers.b_sums = layer.sums + channel;
  return integers;
}

void Network::multiply(Workspace& w, const Layer& layer, const Product& p, int count) const {
  Team& team = *w.team;
  if (layer.weight) return share_out(team, kernels_->product, p);
  if (layer.runs)
    return share_out(team, kernels_->dense,
                     Dense{p.a, layer.runs, layer.scale, p.bias, p.c, p.rows, p.inputs, p.outputs,
                           p.activation});
  quantize(w, layer, p.a, p.rows / count, count);
  multiply_integers(w, layer, p, count);
}

void Network::multiply_integers(Workspace& w, const Layer& layer, const Product& p,
                                int count) const {
  const int places = p.rows / count;
  if (!layer.sums && places == 1) {
    // Vectors share the weights; where an item has many places, they are read often anyway.
    IntegerProduct whole = of_integers(w, layer, p, 0, 0);
    whole.a_scale_step = 1;
    return share_out(*w.team, kernels_->integer_product, whole);
  }
  for (int i = 0; i < count; i++) {
    const size_t at = static_cast<size_t>(i) * places * kPanel;
    Product item = p;
    item.rows = places;
    item.c += at;
    if (p.residual) item.residual += at;
    share_out(*w.team, layer.sums ? kernels_->byte_product : kernels_->integer_product,
              of_integers(w, layer, item, at, i));
  }
}

void Network::quantize(Workspace& w, const Layer& layer, const float* in, int places, int count,
                       const float* gates, bool z) const {
  const size_t size = static_cast<size_t>(places) * kPanel;
  // work(member, item, channel, where its values start, gates of the panel)
  const auto for_panels = [&](auto&& work) {
    w.team->run([&](int member) {
      const Share s = share(layer.inputs, kPanel, member, w.team->size());
      for (int i = 0; i < count; i++)
        for (int channel = s.begin; channel < s.end; channel += kPanel) {
          const size_t panel = channel / kPanel * count + i;
          float gate[kPanel];
          for (int j = 0; j < kPanel; j++) gate[j] = gates ? gates[panel * kPanel + j] : 1.f;
          work(member, i, channel, panel * size, gate);
        }
    });
  };
  for (Scratch& scratch : w.scratch) {
    std::fill_n(scratch.least, count, 0.f);
    std::fill_n(scratch.greatest, count, 0.f);
  }
  for_panels([&](int member, int i, int channel, size_t at, const float* gate) {
    float low[kPanel] = {}, high[kPanel] = {};
    const float *least = low, *greatest = high;
    if (z) {
      least = w.least + i * padded(layer.inputs) + channel;
      greatest = w.greatest + i * padded(layer.inputs) + channel;
    } else {
      kernels_->range(in + at, low, high, places);
    }
    Scratch& found = w.scratch[member];
    for (int j = 0; j < std::min(kPanel, layer.inputs - channel); j++) {
      const float one = least[j] * gate[j], other = greatest[j] * gate[j];
      found.least[i] = smaller(found.least[i], smaller(one, other));
      found.greatest[i] = larger(found.greatest[i], larger(one, other));
    }
  });
  float units[kGroup];
  for (int i = 0; i < count; i++) {
    float least = 0, greatest = 0;
    for (const Scratch& scratch : w.scratch) {
      least = smaller(least, scratch.least[i]);
      greatest = larger(greatest, scratch.greatest[i]);
    }
    units[i] = choose_scale(layer, least, greatest, w.a_scales[i], w.zeros[i]);
  }
  for_panels([&](int, int i, int, size_t at, const float* gate) {
    float scale[kPanel];
    for (int j = 0; j < kPanel; j++) scale[j] = gate[j] * units[i];
    std::byte* out = w.integers + layer.input_bytes() * at;
    if (layer.sums)
      kernels_->quantize_bytes(in + at, scale, w.zeros[i], reinterpret_cast<uint8_t*>(out), places);
    else
      kernels_->quantize(in + at, scale, reinterpret_cast<int16_t*>(out), places);
  });
}

// What a value is multiplied by to become an integer; also the inverse, and what 0 becomes.
float Network::choose_scale(const Layer& layer, float least, float greatest, float& scale,
                            int& zero) const {
  float limit, range;
  if (layer.sums) {
    limit = 254;  // one less than there are, for the zero point is rounded upwards
    range = greatest - least;
  } else {
    // As many bits as the sums of 32 bits have room for. Exported weights are 127 at most; those of
    // a file from elsewhere may be -128.
    limit = std::min(32767.f, std::floor(2147483647.f / (128.f * layer.inputs)) - 1);
    range = std::max(-least, greatest);
  }
  scale = range / limit;
  const bool finite = range > 0 && std::isfinite(limit / range);
  const float unit = finite ? limit / range : 0.f;
  zero = layer.sums ? kernels_->lowest_byte : 0;
  if (layer.sums && finite) zero += static_cast<int>(std::ceil(-least * unit));
  return unit;
}

}  // namespace movinet
