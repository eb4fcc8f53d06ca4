"""What prediction needs of a model, whatever engine runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from movinet.errors import MovinetError
from movinet.network.config import InputSpec

#: Origin of weights that nobody trained.
RANDOM = "random weights"


@dataclass(frozen=True)
class ModelInfo:
    """What travels with a model's weights.

    Attributes:
        name: For people: the preset or ensemble; of a trained model the run, and the preset in
            brackets.
        input: Size and frame rate that the model wants.
        labels: Names of the classes, in the order of the outputs.
        streaming: Whether the model sees one frame at a time (`Runtime.stream`) or whole clips.
        origin: Where the weights come from, for people: a file, a published name, or that they are
            random.
        notes: What a user should know of these weights, one line each.
        time_offset: Seconds, less than the time between two frames, by which this member of a
            temporal ensemble sees its frames later than the first member.
        multi_label: Whether each label has a probability of its own (a sigmoid), and not all of
            them one together (a softmax over exclusive classes). Always so with one label.
    """

    name: str
    input: InputSpec
    labels: tuple[str, ...]
    streaming: bool
    origin: str
    notes: tuple[str, ...] = ()
    time_offset: float = 0.0
    multi_label: bool = False

    def __post_init__(self) -> None:
        if len(self.labels) == 1:  # no other class takes what is left
            object.__setattr__(self, "multi_label", True)


def check_numbers(values: np.ndarray, info: ModelInfo) -> None:
    """Raise MovinetError for outputs that are NaN or infinite, as broken weights give them."""
    if not np.isfinite(values).all():
        raise MovinetError(
            f"{info.name} gives values that are not numbers (NaN or infinite); are its weights "
            f"({info.origin}) broken?"
        )


class Stream(Protocol):
    """One video seen frame by frame, with its own state."""

    def __call__(self, frame: np.ndarray, /) -> np.ndarray:
        """See one more frame.

        Args:
            frame: (height, width, 3) uint8 RGB of any size; it is preprocessed here.

        Returns:
            Probabilities (classes,) float32, of everything seen since the start.

        Raises:
            MovinetError: If the model gives NaN or infinite values, or its engine fails.
        """
        ...

    @property
    def embedding(self) -> np.ndarray:
        """The pooled embedding of everything seen, before the classifier: (channels,) float32.

        The mean over all frames, or the decayed one if the stream has a half-life.

        Raises:
            ConfigError: If no frame was seen.
        """
        ...

    def fade(self, missed: int) -> None:
        """Let the next frame find a state that forgot as much as `missed` frames would make it."""
        ...

    def reset(self) -> None:
        """Forget every frame."""
        ...

    def snapshot(self) -> Any:
        """The state as a value that later calls do not change."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of this or another stream of the same runtime."""
        ...


class Runtime(Protocol):
    """A loaded model."""

    @property
    def info(self) -> ModelInfo:
        """What travels with the model."""
        ...

    @property
    def members(self) -> Sequence[Runtime]:
        """The members of an ensemble, each with its own input; empty for a single model."""
        ...

    def stream(self, *, half_life: float | None = None) -> Stream:
        """A new stream.

        Args:
            half_life: Seconds after which a frame counts half in the poolings, for streams without
                an end; None for the mean of all frames, as published.

        Raises:
            ConfigError: If the model does not stream.
        """
        ...

    def running_logits(
        self, frames: np.ndarray, state: Any = None, *, half_life: float | None = None
    ) -> tuple[np.ndarray, Any]:
        """What a stream says after each frame of a preprocessed clip: faster than one by one.

        Args:
            frames: (time, height, width, 3) uint8 RGB in [0, 255] of the model's size, or the same
                as float32 in [0, 1].
            state: As an earlier call returned it; None begins a stream.
            half_life: As in `stream`; the same in all calls of a stream.

        Returns:
            Logits (time, classes) float32 of everything seen until each frame, and the state after
            the last one.

        Raises:
            ConfigError: If it is no stream model, or an ensemble.
        """
        ...

    def running_embeddings(self, frames: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        """The embedding of a stream after each frame of a preprocessed clip.

        Args:
            frames: As in `running_logits`.
            state: As an earlier call of this method or of `running_logits` returned it; None begins
                a stream.

        Returns:
            Embeddings (time, channels) float32 of everything seen until each frame (the last row is
            the embedding of the video), and the state after the last one.

        Raises:
            ConfigError: If it is not a stream model, or an ensemble.
        """
        ...

    def clip_logits(self, frames: np.ndarray) -> np.ndarray:
        """Logits (classes,) float32 of a preprocessed clip.

        Args:
            frames: As in `running_logits`.
        """
        ...

    def clip_embedding(self, frames: np.ndarray) -> np.ndarray:
        """The pooled embedding (channels,) float32 of a preprocessed clip, before the classifier.

        Args:
            frames: As in `running_logits`.

        Raises:
            ConfigError: If the model gives none: an ensemble, or a file exported without it.
        """
        ...
