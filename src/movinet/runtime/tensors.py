"""What a manifest says of tensors: those of the graph, and a stream's state among them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from movinet.errors import ConfigError
from movinet.text import one_line

#: Far beyond any tensor: a manifest may come from anybody.
MAX_ELEMENTS, MAX_AXES = 2**31, 5
_DTYPES = ("float32", "uint8", "int8", "int32")
#: Lowest and highest value of a state's elements.
_LIMITS = {"float32": (-3.4e38, 3.4e38), "int8": (-128, 127), "int32": (-(2**31), 2**31 - 1)}
#: Before the name of a state tensor in `StateTensor.next`.
_STATE = "state:"
T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that goes into a graph or comes out of it.

    Attributes:
        name: Its name in the file; where a format has no names, its place in `Manifest.inputs` or
            `outputs` is its place there.
        shape: None where the batch is free.
        dtype: "float32", "uint8", "int8" or "int32".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_name("tensor", self.name)
        _check_shape(self.name, self.shape)
        if self.dtype not in _DTYPES:
            raise ConfigError(
                f"{self.name}: dtype must be one of {', '.join(_DTYPES)}, not {self.dtype!r}"
            )


@dataclass(frozen=True)
class StateTensor:
    """A part of a stream's state: an input of the graph that the runtime carries along.

    Attributes:
        name: Of the input: "pool_weight", "frame_count", "sums" (those of all poolings, block by
            block, the head's last), or "buffer/<block>/<i>", frame i of a temporal kernel's past,
            the oldest first.
        shape: The batch is the first axis; None where it is free.
        next: After a step it takes the value of this output, or with "state:" before it that of
            another state tensor as it was before the step.
        initial: Value of all its elements before the first frame.
        dtype: Of its elements, "float32", "int8" or "int32".
    """

    name: str
    shape: tuple[int | None, ...]
    next: str
    initial: float = 0.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_name("state", self.name)
        _check_name(f"{self.name}: next", self.next)
        _check_shape(self.name, self.shape)
        if self.dtype not in _LIMITS:
            raise ConfigError(
                f"{self.name}: dtype must be one of {', '.join(_LIMITS)}, not {self.dtype!r}"
            )
        low, high = _LIMITS[self.dtype]
        number = isinstance(self.initial, (int, float)) and not isinstance(self.initial, bool)
        if not number or not low <= self.initial <= high:  # NaN is between no two numbers
            raise ConfigError(
                f"{self.name}: initial must be a number from {low} to {high}, not "
                f"{one_line(repr(self.initial))}"
            )

    @property
    def source(self) -> str:
        """Name of the output, or of the state tensor, whose value it takes after a step."""
        return self.next.removeprefix(_STATE)

    @property
    def is_from_state(self) -> bool:
        """Whether `source` is a state tensor."""
        return self.next.startswith(_STATE)


def carried(
    states: Iterable[StateTensor], outputs: Mapping[str, T], before: Mapping[str, T]
) -> dict[str, T]:
    """The state after a step.

    Args:
        states: What there is of it.
        outputs: Of the step.
        before: The state before the step.
    """
    return {
        state.name: (before if state.is_from_state else outputs)[state.source] for state in states
    }


def _check_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 200:
        raise ConfigError(f"{what} must have a printable name, not {name!r}")


def _check_shape(name: str, shape: tuple[Any, ...]) -> None:
    """Raise ConfigError unless a shape is small and only its first axis is free."""
    sides = [1 if side is None and axis == 0 else side for axis, side in enumerate(shape)]
    plain = [side for side in sides if isinstance(side, int) and not isinstance(side, bool)]
    if len(plain) != len(sides) or not 1 <= len(sides) <= MAX_AXES or min(plain) < 1:
        raise ConfigError(f"{name}: {shape} is no shape of 1 to {MAX_AXES} dimensions")
    if elements(shape) > MAX_ELEMENTS:
        raise ConfigError(f"{name}: {shape} is more than {MAX_ELEMENTS} elements")


def elements(shape: tuple[Any, ...]) -> int:
    """Elements of a tensor, of one stream where the batch is free."""
    return math.prod(side for side in shape if side is not None)
