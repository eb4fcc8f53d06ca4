"""Numbers in the native engine: small weights, values that are none, largest sums, any state."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args
from unittest.mock import patch

import numpy as np
import pytest
import torch
from native_files import (
    KERNELS,
    assert_near,
    make_manifest,
    native,
    open_engine,
    run_engine,
    running_logits,
    write_file,
)

from movinet.errors import ConfigError
from movinet.exporting.graph.folding import Affine, fold
from movinet.exporting.writers.native import ACTIVATIONS, write_native
from movinet.network.config import Activation
from networks import make_model, make_video, tiny_stream

#: Of the largest logit. 16-bit weights after the poolings cost about a third of it.
TOLERANCE = 1e-4


def run_small_file(
    folder: Path, kernels: str, quantization: Literal["float16", "dynamic"], share: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a file of at most that share of the plain one says, and what PyTorch says."""
    model = make_model(tiny_stream())
    video = make_video(2, 5, 40, 40)
    plain = write_file(model, folder / "m.mvn", (40, 40))
    small = write_file(model, folder / "s.mvn", (40, 40), quantization)
    assert small.stat().st_size < share * plain.stat().st_size
    return run_engine(open_engine(small, kernels), video, [2, 1, 2]), running_logits(model, video)


@pytest.mark.parametrize("kernels", KERNELS)
def test_int8_weights_are_near(tmp_path: Path, kernels: str) -> None:
    found, wanted = run_small_file(tmp_path, kernels, "dynamic", 0.7)
    rms = np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean())
    assert 1e-4 < rms < 0.05


@pytest.mark.parametrize("kernels", KERNELS)
def test_float16_weights_are_nearer(tmp_path: Path, kernels: str) -> None:
    # Small layers fill no 64 bytes.
    found, wanted = run_small_file(tmp_path, kernels, "float16", 0.8)
    assert 1e-6 < np.abs(found - wanted).max() < 2e-3


def test_a_weight_beyond_float16_is_refused(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    with torch.no_grad():
        model.classifier.weight[0, 0] = 70000
    with pytest.raises(
        ConfigError, match=r"float16 cannot represent a weight of 7e\+04: omit quantize"
    ):
        write_file(model, tmp_path / "m.mvn", (16, 16), "float16")


def test_a_weight_that_is_no_number_is_refused_or_stays_none(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    with torch.no_grad():
        model.classifier.weight[2, 3] = float("nan")
    with pytest.raises(ConfigError, match="a weight that is no finite number has no int8 form"):
        write_file(model, tmp_path / "m.mvn", (16, 16), "dynamic")
    for quantization in ("none", "float16"):
        path = write_file(model, tmp_path / "m.mvn", (16, 16), quantization)
        found = run_engine(open_engine(path), make_video(1, 1, 16, 16), [1])
        assert np.isnan(found[..., 2]).all()


@pytest.mark.parametrize("activation", sorted(set(get_args(Activation)) & set(ACTIVATIONS)))
@pytest.mark.parametrize("quantization", ["none", "float16", "dynamic"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_what_is_no_number_stays_none(
    tmp_path: Path,
    kernels: str,
    quantization: Literal["none", "float16", "dynamic"],
    activation: str,
) -> None:
    """A stream whose past is broken may not go on as if nothing were; others are as ever."""
    model = make_model(tiny_stream(), activation=activation)
    video = make_video(3, 4, 33, 46)
    path = write_file(model, tmp_path / "m.mvn", (33, 46), quantization)
    engine = open_engine(path, kernels, 2)
    wanted = run_engine(engine, video, [1, 3])
    video[1, 1, 1, 20, 20] = float("nan")
    found = run_engine(engine, video, [1, 3])
    assert np.isnan(found[1, 1:]).all()
    assert np.array_equal(found[[0, 2]], wanted[[0, 2]])
    assert np.array_equal(found[1, 0], wanted[1, 0])


def test_squeeze_excitation_wider_than_its_block(tmp_path: Path) -> None:
    """No preset is so, but a file may be."""
    model, random = make_model(tiny_stream()), np.random.default_rng(0)
    network = fold(model)

    def affine(inputs: int, outputs: int) -> Affine:
        weight = random.standard_normal((inputs, outputs)) / inputs**0.5
        return Affine(weight.astype(np.float32), np.zeros(outputs, np.float32))

    blocks = tuple(
        replace(block, reduce=affine(len(block.reduce.weight), 4000), gate=affine(4000, width))
        for block in network.blocks
        if block.reduce is not None and (width := block.spec.expand)
    )
    network, logits = replace(network, blocks=blocks), []
    for quantization in ("none", "float16", "dynamic"):
        path = tmp_path / f"{quantization}.mvn"
        write_native(network, make_manifest(model, (2, 2), quantization), path)
        logits.append(run_engine(open_engine(path), make_video(8, 3, 2, 2), [3]))
    assert_near(logits[1], logits[0], 0.005)
    assert_near(logits[2], logits[0], 0.05)


def test_sums_of_the_largest_integers(tmp_path: Path) -> None:
    """-128 is a weight too, though none that an export writes: 32 bits have to hold the sum."""
    model, path = make_model(tiny_stream()), tmp_path / "m.mvn"
    network, width, wide = fold(model), 48, 2100
    network = replace(
        network,
        config=network.config.replace(architecture=replace(model.config.architecture, head=wide)),
        head=Affine(np.full((24, wide), 1e-20, np.float32), np.full(wide, -1, np.float32)),
        hidden=Affine(np.full((wide, width), -1, np.float32), np.zeros(width, np.float32)),
    )
    logits = []
    for lowest in (-127, -128):
        with patch(
            "movinet.exporting.writers.native.np.rint", lambda x, w=lowest: np.full(x.shape, w)
        ):
            write_native(network, make_manifest(model, (8, 8), "dynamic"), path)
        engine = native.Engine(str(path))
        frames, one = np.zeros((1, 8, 8, 3), np.float32), np.ones(1, np.float32)
        logits.append(engine.step([engine.new_state()], frames, one, True))
    assert_near(logits[1], logits[0] * (128 / 127) ** 2, 0.01)


def test_states_from_anywhere_stay_within_their_memory(tmp_path: Path) -> None:
    """The number of frames of a snapshot may be any: it may not lead out of the rings."""
    model = make_model(tiny_stream(), positional_encoding=False)
    engine = native.Engine(str(write_file(model, tmp_path / "m.mvn", (16, 16))))
    frames, one = make_video(1, 1, 16, 16)[0].permute(1, 2, 3, 0).contiguous().numpy(), np.ones(1)
    blank = engine.to_bytes(engine.new_state())
    states = [blank, (2**63 - 1).to_bytes(8, "little") + blank[8:]]
    logits = []
    for held in states:
        state = engine.from_bytes(held)
        steps = [engine.step([state], frames, one.astype(np.float32), True) for _ in range(7)]
        logits.append(np.concatenate(steps))
    # Rings of frames that are all zero are the same wherever they start, until numbers wrap.
    assert np.array_equal(logits[0][0], logits[1][0])
    assert np.isfinite(logits[1]).all()
