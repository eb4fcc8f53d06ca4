"""Quantised files keep what the model knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import movinet
from movinet.errors import VideoError
from movinet.exporting.calibration import measure_ranges, read_clips
from movinet.exporting.graph.folding import fold
from movinet.exporting.graph.graph import GraphOptions, build_graph
from movinet.exporting.graph.program import Program, Value
from movinet.exporting.quantize import activation_scale, to_int8
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.runtime.numbers import softmax
from networks import TINY, make_model

SPEC = InputSpec(image_size=48, short_side=48, frame_rate=5.0, num_frames=4)
STREAM = MoViNetConfig(
    TINY,
    causal=True,
    factorized=True,
    se_type="2plus3d",
    activation="hard_swish",
    gating_activation="hard_sigmoid",
)
#: A really trained network and three real videos, which this project does not carry.
CATTLE = Path(__file__).parents[3] / "shared" / "reference" / "checkpoints" / "cattle_a0_stream_7"


def clips(count: int = 2) -> list[np.ndarray]:
    """Noise that is not the same in every frame, nor white."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 6, 6, 6, 3), np.uint8)
    return list(coarse.repeat(8, axis=2).repeat(8, axis=3))


def rms(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()))


@pytest.mark.parametrize(
    ("quantize", "error"),
    [("float16", 1e-3), ("mixed", 0.03), ("dynamic", 0.05), ("int8", 0.3)],
)
def test_files_are_smaller_and_say_nearly_the_same(quantize, error, tmp_path: Path) -> None:
    model = make_model(STREAM)
    plain = movinet.export(model, tmp_path / "plain.tflite", input_spec=SPEC)
    done = movinet.export(
        model,
        tmp_path / "small.tflite",
        input_spec=SPEC,
        quantize=quantize,
        calibration=clips() if quantize == "int8" else None,
    )
    assert done.size < 0.85 * plain.size
    frames = clips(1)[0]
    streams = [movinet.load(file.path).stream(resize=False) for file in (plain, done)]
    wanted, found = (np.stack([s.advance(f[None]) for f in frames]) for s in streams)
    assert rms(found, wanted) < error


def test_int8_streams_carry_int8_frames(tmp_path: Path) -> None:
    done = movinet.export(
        make_model(STREAM),
        tmp_path / "x.tflite",
        input_spec=SPEC,
        quantize="int8",
        calibration=clips(),
    )
    kinds = {state.name.split("/")[0]: state.dtype for state in done.manifest.states}
    assert kinds == {"pool_weight": "float32", "sums": "float32", "buffer": "int8"}
    stream = movinet.load(done.path).stream(resize=False)
    first = stream(clips()[0][0])
    snapshot = stream.snapshot()
    second = stream(clips()[0][1])
    stream.restore(snapshot)
    np.testing.assert_array_equal(stream(clips()[0][1]), second)
    stream.reset()
    np.testing.assert_array_equal(stream(clips()[0][0]), first)


@pytest.mark.parametrize("quantize", ["mixed", "int8"])
def test_an_activation_of_several_operations_is_quantised(
    quantize: Literal["mixed", "int8"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a new one is made: some of its operations have constants."""

    def activate(self: Program, name: str, x: Value, _: str) -> Value:
        shifted = self.binary("add", f"{name}/shifted", x, 3.0)
        share = self.binary("mul", f"{name}/share", self.unary("relu6", f"{name}/cut", shifted), x)
        return self.binary("div", name, share, 6.0)

    monkeypatch.setattr(Program, "activate", activate)
    done = movinet.export(
        make_model(STREAM.replace(head_activation="hard_swish")),
        tmp_path / "x.tflite",
        input_spec=SPEC,
        quantize=quantize,
        calibration=clips() if quantize == "int8" else None,
    )
    assert done.agreement.error < 0.1


def test_zero_is_a_step_of_every_scale() -> None:
    """Padding is zero, and so is a stream's past before its first frame."""
    for low, high in ((-1.0, 3.0), (0.5, 4.0), (-7.0, -2.0), (0.0, 0.0)):
        scale = activation_scale(low, high)
        assert -128 <= scale.zero_point <= 127
        steps = (np.array([-128, 127]) - scale.zero_point) * scale.scale[0]
        assert steps[0] <= min(low, 0) + scale.scale[0]
        assert steps[1] >= max(high, 0) - scale.scale[0]


def test_ranges_are_measured_with_carried_state() -> None:
    """A sum grows from frame to frame; ranges of single frames would not see it."""
    graph = build_graph(fold(make_model(STREAM)), GraphOptions((48, 48)))
    long = measure_ranges(graph, [clips(1)[0]])
    short = measure_ranges(graph, [clips(1)[0][:1]])
    name = "block0_layer0/total0"
    assert max(map(abs, long[name])) > 3 * max(map(abs, short[name]))
    assert to_int8(graph.program, long).scales.keys() >= {"buffer/block1_layer0/0"}


def test_calibration_reads_folders_of_videos(tmp_path: Path) -> None:
    from movinet.video import VideoWriter

    (tmp_path / "below").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with VideoWriter(tmp_path / "below" / "clip.mp4", frame_rate=10) as writer:
        for _ in range(10):
            writer.write(np.full((48, 64, 3), 99, np.uint8))
    (clip,) = read_clips(tmp_path, SPEC)
    assert clip.shape == (5, 48, 48, 3)
    (tmp_path / "below" / "clip.mp4").unlink()
    with pytest.raises(VideoError, match=r"no video for calibration.*broken\.mp4"):
        read_clips(tmp_path, SPEC)


@pytest.fixture(scope="module")
def cattle() -> Iterator[tuple]:
    if not CATTLE.exists():
        pytest.skip("the trained network that this measures is other people's; it is not here")
    model = movinet.create_model("a0_stream", weights=str(CATTLE))
    with np.load(CATTLE / "expected.npz") as file:
        names = [name.removeprefix("frames/") for name in file if name.startswith("frames/")]
        yield model, {name: (file[f"frames/{name}"], file[f"logits/{name}"]) for name in names}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("quantize", "error", "divergence"),
    [("float16", 0.002, 1e-5), ("mixed", 0.03, 1e-3), ("dynamic", 0.05, 2e-3)],
)
def test_a_trained_network_keeps_its_logits(cattle, quantize, error, divergence, tmp_path) -> None:
    model, videos = cattle
    spec = InputSpec(172, 172, 5.0, 50)
    done = movinet.export(model, tmp_path / "x.tflite", quantize=quantize, input_spec=spec)
    runtime = movinet.load(done.path)
    for frames, wanted in videos.values():
        stream = runtime.stream(resize=False)
        found = np.concatenate([stream.advance(frame[None]) for frame in frames])
        p, q = softmax(wanted), softmax(found)
        assert rms(found, wanted) < error
        assert (p * (np.log(p) - np.log(q))).sum(-1).mean() < divergence
