"""The stored outputs of the reference belong to exactly these weights and videos."""

import zlib

import pytest

from reference_weights import SUFFIX, video, weight

STEM = "model/layer_with_weights-0/layer_with_weights-0/_stem"


@pytest.mark.parametrize(
    ("key", "shape", "checksum"),
    [
        (f"{STEM}/_conv/_conv/kernel", (3, 3, 3, 8), 0xA1F081BD),
        ("a/b/depthwise_kernel", (3, 3, 8, 1), 0xEC3EC82E),
        ("a/gamma", (8,), 0xFFCAB5B1),
        ("a/bias", (8,), 0x365DC893),
        ("a/scale", (), 0xE9A6C031),
    ],
)
def test_weights(key: str, shape: tuple[int, ...], checksum: int):
    value = weight(f"{key}{SUFFIX}", shape)

    assert value.shape == shape
    assert zlib.crc32(value.tobytes()) == checksum


def test_video():
    value = video((1, 5, 64, 64, 3))

    assert value.min() == 0
    assert value.max() == 1
    assert zlib.crc32(value.tobytes()) == 0x4C5382CF
