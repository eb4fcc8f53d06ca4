"""Presets and the checks of every configuration field."""

import dataclasses
import itertools

import pytest

from movinet.errors import ConfigError
from movinet.network.config import MoViNetConfig
from movinet.network.presets import input_spec, preset_config
from networks import PRESETS, STREAMS


def test_every_config_field_is_checked() -> None:
    config = preset_config("a0_stream")
    bad = {
        "num_classes": (0, "5", True),
        "causal": (1, "yes"),
        "lowering": ("1d",),
        "se_type": ("2D", None),
        "activation": ("gelu",),
        "gating_activation": ("swish",),
        "pooling": ("1d",),
        "dropout": (1.0, -0.1, "x"),
        "drop_path": (1.0,),
        "norm_eps": (0.0,),
        "trained_frames": (0,),
        "multi_label_pooling": (True,),
        "architecture": ("a0",),
    }
    for name, values in itertools.chain(bad.items()):
        for value in values:
            with pytest.raises(ConfigError, match=name):
                config.replace(**{name: value})
    with pytest.raises(ConfigError, match="positional_encoding"):
        preset_config("a0_base", positional_encoding=True)
    with pytest.raises(ConfigError, match="no such config field: se_typ"):
        config.replace(se_typ="3d")
    assert MoViNetConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="not a MoViNet configuration"):
        MoViNetConfig.from_dict({"architecture": {"stem": 3}})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_was_published(name: str) -> None:
    config = preset_config(name)
    stream = name in STREAMS
    assert (config.causal, config.factorized) == (stream, stream)
    assert config.se_type == ("2plus3d" if stream else "3d")
    assert config.positional_encoding == (name in ("a3_stream", "a4_stream", "a5_stream"))
    hard = name in ("a1_stream", "a4_stream", "t0_stream")
    assert config.head_activation == ("hard_swish" if hard else "swish")
    low = name in ("a0_base", "a0_stream", "a1_stream", "t0_base", "t0_stream")
    assert (config.dropout, config.drop_path) == (0.2 if low else 0.5, 0.2)
    size = name.split("_")[0]
    expected = {  # size, short side in tests, frames a second, frames in tests and in training
        "a0": (172, 192, 5, 50, 50),
        "a1": (172, 192, 5, 50, 50),
        "a2": (224, 256, 5, 50, 50),
        "a3": (256, 288, 12, 120, 64),
        "a4": (290, 320, 8, 80, 32),
        "a5": (320, 368, 12, 115 if stream else 120, 32),
        "t0": (160, 176, 2.5, 25, 25),
    }[size]
    assert (*dataclasses.astuple(input_spec(name)), config.trained_frames) == expected
