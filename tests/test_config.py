"""What a configuration may be: files from outside bring some, and must not ask for everything."""

import dataclasses
import math
from typing import Any

import pytest

from movinet.errors import ConfigError
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import Architecture, Group, InputSpec, MoViNetConfig
from movinet.network.presets import preset_config
from networks import TINY

GROUPS = TINY.groups


def with_block(*block: object) -> dict[str, Any]:
    return {"groups": (Group(8, 2, (block,)),)}  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", ARCHITECTURES)
def test_configs_survive_json_values(size: str) -> None:
    config = preset_config(f"{size}_stream", num_classes=3)
    assert MoViNetConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": True}, "stem must be an integer from 1 to 65536, not True"),
        ({"stem": 8.0}, "stem must be an integer"),
        ({"head": 65_537}, "head must be an integer"),
        ({"hidden": 0}, "hidden must be an integer"),
        ({"groups": list(GROUPS)}, "must be a tuple of Group"),
        ({"groups": ((8, 2, ((16, 1, 5),)),)}, "must be a tuple of Group"),
        ({"groups": ()}, "at least one group"),
        ({"groups": (Group(8, 2, ()),)}, "at least one block"),
        ({"groups": (Group(8, 2, [(16, 1, 5)]),)}, "a tuple of at least one block"),  # pyright: ignore
        (with_block(16, 1), "a block must be a tuple"),
        (with_block(16, 2, 5), "kernels must be odd, not 2"),
        (with_block(16, 1, 65), "kernel must be an integer from 1 to 63, not 65"),
        (with_block(16, 1, 3.0), "kernel must be an integer"),
        (with_block(16, -1, 3), "kernel must be an integer"),
        (with_block(10**9, 1, 3), "block0_layer0: expanded channels"),
        ({"groups": (Group(8, 3, ((16, 1, 5),)),)}, "stride must be an integer from 1 to 2"),
        ({"groups": (Group("8", 2, ((16, 1, 5),)),)}, "output channels"),  # pyright: ignore
    ],
)
def test_architectures_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **changes)


def test_too_many_blocks_are_refused_before_they_are_looked_at() -> None:
    """The million numbers of the blocks are all wrong, and none of them is looked at."""
    with pytest.raises(ConfigError, match="at most 1000 blocks, not 1000000"):
        Architecture(8, (Group(8, 2, ((0, 0, 0),) * 1_000_000),), 8, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_classes", 0),
        ("num_classes", 65_537),
        ("num_classes", True),
        ("num_classes", 7.0),
        ("trained_frames", 1_000_001),
        ("norm_eps", math.inf),
        ("norm_eps", math.nan),
        ("norm_eps", 0.0),
        ("norm_eps", 10**400),
        ("norm_momentum", math.nan),
        ("dropout", math.nan),
        ("dropout", True),
        ("causal", 1),
        ("se_type", "4d"),
    ],
)
def test_config_fields_are_checked(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        MoViNetConfig(TINY).replace(**{field: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((32.0, 36, 5, 10), "image_size"),
        ((True, 36, 5, 10), "image_size"),
        ((37, 36, 5, 10), "image_size"),
        ((32, 16_385, 5, 10), "short_side"),
        ((32, 36, math.inf, 10), "frame_rate"),
        ((32, 36, math.nan, 10), "frame_rate"),
        ((32, 36, 1_001, 10), "frame_rate"),
        ((32, 36, "5", 10), "frame_rate"),
        ((32, 36, 0, 10), "frame_rate"),
        ((32, 36, 5, 1_000_001), "num_frames"),
        ((32, 36, 5, 2.5), "num_frames"),
    ],
)
def test_inputs_are_checked(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        InputSpec(*values)
