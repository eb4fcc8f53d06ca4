"""Each kernel of the native engine alone, for every instruction set here, against numpy."""

import itertools
import platform
from pathlib import Path

import numpy as np
import pytest
from native_files import KERNELS

from movinet.exporting.writers.native import ACTIVATIONS as IN_FILES

alone = pytest.importorskip(
    "movinet._native_kernels", reason="kernels alone are in a module that only `make` builds"
)

#: By the numbers that the engine gives them.
ACTIVATIONS: tuple[str, ...] = alone.ACTIVATIONS
TOLERANCE = 2e-6


def activate(x: np.ndarray, name: str) -> np.ndarray:
    match name:
        case "relu6":
            return np.clip(x, 0, 6)
        case "hard_swish":
            return x * np.clip(x + 3, 0, 6) / 6
        case "hard_sigmoid":
            return np.clip(x + 3, 0, 6) * 0.16667
        case "swish":
            return x / (1 + np.exp(-x))
        case "sigmoid":
            return 1 / (1 + np.exp(-x))
        case "none":
            return x
    raise NotImplementedError(f"{name}: what it computes is to be written here")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= TOLERANCE * max(1, np.abs(wanted).max())


def test_activations_have_the_numbers_of_files() -> None:
    """In the engine and where files are written; the tests below hold them to what they compute."""
    assert {name: i for i, name in enumerate(ACTIVATIONS)} == {"none": 0} | IN_FILES


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it knows the flags of x64 alone")
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux")
def test_the_instruction_sets_are_those_that_the_system_tells_of() -> None:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split())
    avx512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma", "f16c"}
    needs = {
        "avx512vnni": avx512 | {"avx512_vnni"},
        "avx512": avx512,
        "avxvnni": {"avx2", "fma", "f16c", "avx_vnni"},
        "avx2": {"avx2", "fma", "f16c"},
        "baseline": set(),
        "plain": set(),
    }
    assert set(needs) == set(alone.COMPILED), "which flags does the new set need?"
    assert [name for name, need in needs.items() if need <= flags] == KERNELS


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 13, 25, 36])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (8, 24), (27, 8), (40, 33), (56, 16)])
def test_a_product(kernels: str, rows: int, inputs: int, outputs: int) -> None:
    a, b, bias = numbers(rows, inputs), numbers(inputs, outputs, seed=1), numbers(outputs, seed=2)
    residual = numbers(rows, outputs, seed=3)
    wanted = a.astype(np.float64) @ b + bias
    for i, name in enumerate(ACTIVATIONS):
        assert_close(alone.product(kernels, a, b, bias, None, i), activate(wanted, name))
        added = alone.product(kernels, a, b, bias, residual, i)
        assert_close(added, activate(wanted + residual, name))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_no_number_stays_none(kernels: str, name: str) -> None:
    a, b = numbers(3, 5), numbers(5, 20, seed=1)
    a[1, 2] = np.nan
    found = alone.product(kernels, a, b, numbers(20), None, ACTIVATIONS.index(name))
    assert np.isfinite(found[[0, 2]]).all()
    if name in ("none", "swish", "sigmoid"):
        assert np.isnan(found[1]).all()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2), (7, 2)])
@pytest.mark.parametrize(("width", "channels"), [(7, 8), (12, 20), (15, 33)])
def test_depthwise(kernels: str, kernel: int, stride: int, width: int, channels: int) -> None:
    x, w = numbers(9, width, channels), numbers(kernel, kernel, channels, seed=1)
    bias = numbers(channels, seed=2)
    windows = np.lib.stride_tricks.sliding_window_view(
        x.astype(np.float64), (kernel, kernel), (0, 1)
    )
    plain = np.einsum("hwcuv,uvc->hwc", windows[::stride, ::stride], w) + bias
    for i, name in enumerate(ACTIVATIONS):
        found, sums = alone.depthwise(kernels, x, w, bias, stride, i)
        wanted = activate(plain, name)
        assert_close(found, wanted)
        assert_close(sums, wanted.sum((0, 1)))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("places", "channels"), [(1, 8), (10, 30), (9, 16), (70, 16)])
def test_taps_over_time(
    kernels: str, halves: bool, kernel: int, places: int, channels: int
) -> None:
    frames, w = numbers(kernel, places, channels), numbers(kernel, channels, seed=1)
    bias = numbers(channels, seed=2)
    kept = frames.astype(np.float16).astype(np.float32) if halves else frames
    frames[:-1] = kept[:-1]
    plain = np.einsum("tpc,tc->pc", frames.astype(np.float64), w) + bias
    for i, name in enumerate(ACTIVATIONS):
        found, sums, oldest = alone.taps(kernels, frames, w, bias, i, halves)
        wanted = activate(plain, name)
        assert_close(found, wanted)
        assert_close(sums, wanted.sum(0))
        np.testing.assert_array_equal(oldest, kept[-1], "the new frame is not in its place")


@pytest.mark.parametrize("kernels", KERNELS)
def test_every_half_is_read_and_written(kernels: str) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    past = halves[np.isfinite(halves)].astype(np.float32).reshape(1, -1, 16)
    one, bias = np.zeros((3, 16), np.float32), np.zeros(16, np.float32)
    one[0] = 1
    frames = np.concatenate([past, past, np.roll(past, 7)])
    found, _, kept = alone.taps(kernels, frames, one, bias, 0, True)
    np.testing.assert_array_equal(found, past[0])
    np.testing.assert_array_equal(kept, frames[2])


@pytest.mark.parametrize("kernels", KERNELS)
def test_floats_become_the_nearest_halves(kernels: str) -> None:
    size = np.logspace(-9, 6, 4096, dtype=np.float32)
    ties = np.arange(1, 2049, 2, dtype=np.float32) / 2048 + 1  # between two halves each
    values = np.concatenate([size, -size, ties, [np.nan, np.inf, -np.inf, 0.0], np.zeros(12)])
    frames = np.zeros((3, len(values) // 16, 16), np.float32)
    frames[2] = values.reshape(-1, 16)
    zero, bias = np.zeros((3, 16), np.float32), np.zeros(16, np.float32)
    _, _, kept = alone.taps(kernels, frames, zero, bias, 0, True)
    wanted = np.clip(frames[2], -65504, 65504).astype(np.float16)
    np.testing.assert_array_equal(kept, wanted.astype(np.float32))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("height", "width"), list(itertools.product([1, 2, 5, 8], [1, 4, 7])))
def test_average_pool_leaves_the_padding_out(kernels: str, height: int, width: int) -> None:
    x = numbers(height, width, 20)
    wanted = np.zeros((-(-height // 2), -(-width // 2), 20))
    for i, j in np.ndindex(wanted.shape[:2]):
        top, left = 2 * i - height % 2, 2 * j - width % 2
        wanted[i, j] = x[max(top, 0) : top + 3, max(left, 0) : left + 3].mean((0, 1))
    assert_close(alone.average_pool(kernels, x), wanted)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (16, 40), (64, 16), (85, 33), (200, 8)])
def test_a_dense_layer(kernels: str, rows: int, inputs: int, outputs: int) -> None:
    a, bias = numbers(rows, inputs), numbers(outputs, seed=2)
    b = np.random.default_rng(1).integers(-32767, 32768, (inputs, outputs), np.int16)
    scale = np.abs(numbers(-(-inputs // 16), outputs, seed=3)) / 32767
    wanted = a.astype(np.float64) @ (b * np.repeat(scale, 16, 0)[:inputs]) + bias
    for i, name in enumerate(ACTIVATIONS):
        assert_close(alone.dense(kernels, a, b, scale, bias, i), activate(wanted, name))


@pytest.mark.parametrize(
    ("kernels", "zero"),
    [
        (name, zero)
        for name in KERNELS
        for zero in (None, 0, 31, 255)
        if zero is None or alone.has_bytes(name)
    ],
)
@pytest.mark.parametrize("rows", [1, 5, 7, 13, 36])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (16, 40), (27, 8), (56, 33)])
def test_a_product_of_integers(
    kernels: str, zero: int | None, rows: int, inputs: int, outputs: int
) -> None:
    generator = np.random.default_rng(0)
    low, high = (-32767, 32768) if zero is None else (0, 256)
    a = generator.integers(low, high, (rows, inputs), np.int16)
    b = generator.integers(-128, 128, (inputs, outputs), np.int8)
    scale, bias = np.abs(numbers(outputs)) / 127, numbers(outputs, seed=2)
    residual = numbers(rows, outputs, seed=3)
    of_each = np.abs(numbers(rows, 1, seed=4)) / high
    products = (a.astype(np.int64) - (zero or 0)) @ b
    for units in (of_each, of_each[:1]) if zero is None else (of_each[:1],):
        wanted = products * (scale.astype(np.float64) * units) + bias + residual
        for i, name in enumerate(ACTIVATIONS):
            arguments = (a, b, scale, units.ravel(), bias, residual, i, zero)
            found = alone.integer_product(kernels, *arguments)
            assert_close(found, activate(wanted, name))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("places", "channels"), [(1, 8), (3, 30), (9, 16), (70, 16)])
def test_floats_become_integers(kernels: str, places: int, channels: int) -> None:
    x = numbers(places, channels)
    scale = np.abs(numbers(channels, seed=1))
    least, greatest, found = alone.quantize(kernels, x, 1000 * scale, None)
    np.testing.assert_array_equal(least, np.minimum(x.min(0), 0))
    np.testing.assert_array_equal(greatest, np.maximum(x.max(0), 0))
    np.testing.assert_array_equal(found, np.rint(x * (1000 * scale)))
    if not alone.has_bytes(kernels):
        with pytest.raises(ValueError, match="no products of bytes"):
            alone.quantize(kernels, x, scale, 128)
    else:
        _, _, found = alone.quantize(kernels, x, 10 * scale, 128)
        # A product and a sum may be one instruction, so halves may go the other way.
        assert np.abs(found - (x.astype(np.float64) * (10 * scale) + 128)).max() < 0.50001
        # What is beyond a byte becomes the nearest one.
        x = np.array([-1e6, -129, -128.6, -128, 0, 127, 127.6, 128, 1e6], np.float32)
        x = np.repeat(x, 16).reshape(-1, 16)
        _, _, found = alone.quantize(kernels, x, np.ones(16, np.float32), 128)
        np.testing.assert_array_equal(found[:, 5], [0, 0, 0, 0, 128, 255, 255, 255, 255])


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_range_that_is_not_finite_is_no_number(kernels: str, value: float) -> None:
    x = numbers(9, 16)
    x[4, 3] = value
    least, greatest, _ = alone.quantize(kernels, x, np.ones(16, np.float32), None)
    assert np.isnan(least[3])
    assert np.isnan(greatest[3])
    assert np.isfinite(np.delete(least, 3)).all()
    assert np.isfinite(np.delete(greatest, 3)).all()
