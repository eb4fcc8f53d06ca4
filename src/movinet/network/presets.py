"""The named models: architecture, options and input of each preset."""

from __future__ import annotations

import difflib
from typing import Any

from movinet.errors import ConfigError
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import InputSpec, MoViNetConfig

#: (image size, short side in tests, frames per second, frames in tests, frames in training) of the
#: published configurations (TensorFlow Model Garden, projects/movinet/configs/yaml).
_INPUTS: dict[str, tuple[int, int, float, int, int]] = {
    "a0": (172, 192, 5, 50, 50),
    "a1": (172, 192, 5, 50, 50),
    "a2": (224, 256, 5, 50, 50),
    "a3": (256, 288, 12, 120, 64),
    "a4": (290, 320, 8, 80, 32),
    "a5": (320, 368, 12, 120, 32),
    "t0": (160, 176, 2.5, 25, 25),
}
#: The published configurations leave the hidden activation of these streams at hard_swish; of the
#: other streams at swish.
_HARD_HEAD = ("a1", "a4", "t0")
_POSITIONAL = ("a3", "a4", "a5")
_LOW_DROPOUT_BASE = ("a0", "t0")
_LOW_DROPOUT_STREAM = ("a0", "a1", "t0")


#: Members of the ensembles that have a name; A6 is the paper's.
ENSEMBLES: dict[str, tuple[str, ...]] = {"a6_base": ("a4_base", "a5_base")}


def list_models() -> list[str]:
    """Names that `create_model` knows: base and stream presets, and the ensembles.

    Returns:
        ``["a0_base", "a0_stream", ..., "a6_base", "t0_base", "t0_stream"]``.
    """
    names = [f"{size}_{kind}" for size in ARCHITECTURES for kind in ("base", "stream")]
    return sorted([*names, *ENSEMBLES])


def preset_config(name: str, **overrides: Any) -> MoViNetConfig:
    """The configuration of a preset, with single fields overridden.

    Args:
        name: One of ``a0_base ... a5_base, t0_base, a0_stream ... a5_stream, t0_stream``.
        **overrides: Fields of `MoViNetConfig`.

    Raises:
        ConfigError: If the name or a field is unknown, or a value is not allowed.
    """
    size, stream = _split(name)
    if stream:
        config = MoViNetConfig(
            architecture=ARCHITECTURES[size],
            causal=True,
            factorized=True,
            se_type="2plus3d",
            activation="hard_swish",
            gating_activation="hard_sigmoid",
            head_activation="hard_swish" if size in _HARD_HEAD else "swish",
            positional_encoding=size in _POSITIONAL,
            trained_frames=_INPUTS[size][4],
            dropout=0.2 if size in _LOW_DROPOUT_STREAM else 0.5,
        )
    else:
        config = MoViNetConfig(
            architecture=ARCHITECTURES[size],
            trained_frames=_INPUTS[size][4],
            dropout=0.2 if size in _LOW_DROPOUT_BASE else 0.5,
        )
    return config.replace(**overrides)


def input_spec(name: str) -> InputSpec:
    """Input size, frame rate and clip length of a preset.

    Raises:
        ConfigError: If the name is unknown.
    """
    size, stream = _split(name)
    image_size, short_side, frame_rate, num_frames, _ = _INPUTS[size]
    if size == "a5" and stream:
        num_frames = 115
    return InputSpec(image_size, short_side, frame_rate, num_frames)


def _split(name: str) -> tuple[str, bool]:
    size, _, kind = name.partition("_")
    if size in ARCHITECTURES and kind in ("base", "stream"):
        return size, kind == "stream"
    if name in ENSEMBLES:
        raise ConfigError(
            f"{name} is the ensemble of {' and '.join(ENSEMBLES[name])}: each has its own config"
        )
    raise ConfigError(unknown_model_message(name))


def unknown_model_message(name: str) -> str:
    """One line for a model name that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(name, list_models(), n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"no model {name!r}{hint} Models: {', '.join(list_models())}"
