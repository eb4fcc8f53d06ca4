"""Streams of an exported file, seen frame by frame, whose state can be saved and restored."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError
from movinet.runtime.base import check_numbers
from movinet.runtime.manifest import Manifest
from movinet.runtime.snapshot import StreamSnapshot
from movinet.video.preprocessing import crop_pixels, to_unit

if TYPE_CHECKING:
    from movinet.runtime.exported import ExportedRuntime


class ExportedStream:
    """One video seen frame by frame, or a batch of them.

    Attributes:
        runtime: The model.
        batch_size: Streams in it.
        frame_counts: (batch,) frames that each has seen since its start.
        decay: (batch, 1) what the poolings keep a frame.
        state: The engine's own; nothing that others can read.
        lock: Held while it moves, if the engine is reentrant.
    """

    def __init__(
        self, runtime: ExportedRuntime, batch_size: int, decay: float, resize: bool
    ) -> None:
        self.runtime, self._resize = runtime, resize
        self.batch_size = batch_size
        self.frame_counts = np.zeros(batch_size, np.int64)
        self.decay = np.full((batch_size, 1), decay, np.float32)
        self._missed = 0
        self.is_single = batch_size == 1 and runtime.manifest.num_frames == 1
        self.lock = threading.Lock()
        with runtime.lock, runtime.telling():
            self.state = runtime.engine.new_state(batch_size)

    def __call__(self, frames: NDArray[np.uint8] | Sequence[Any]) -> NDArray[np.float32]:
        """See the next frame of each stream.

        Args:
            frames: One (height, width, 3) uint8 RGB of any size. For a batch, or where the file
                takes several frames at a time, a sequence of them: (batch,), (num_frames,) or
                (num_frames, batch) frames.

        Returns:
            Probabilities float32 of everything seen since the start, (classes,) for one stream and
            one frame, else a row for each frame that was given.

        Raises:
            ConfigError: If the frames do not fit.
            CheckpointError: If the engine cannot run the file.
            MovinetError: If the model gives NaN or infinite values.
        """
        manifest = self.runtime.manifest
        if self.is_single:
            output = self.advance(self.preprocess(frames)[None])[0]
            check_numbers(output, self.runtime.info)
            return self.runtime.probabilities(output)
        if not isinstance(frames, Sequence | np.ndarray):
            raise ConfigError(f"expected a sequence of frames, got {type(frames).__name__}")
        listed = list(_leaves(frames))
        wanted = self.batch_size * manifest.num_frames
        if len(listed) != wanted:
            raise ConfigError(f"expected {wanted} frames at a time, got {len(listed)}")
        output = self.advance(np.stack([self.preprocess(frame) for frame in listed]))
        check_numbers(output, self.runtime.info)
        output = self.runtime.probabilities(output)
        if self.batch_size == 1 or manifest.num_frames == 1:
            return output
        return output.reshape(manifest.num_frames, self.batch_size, -1)

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The pooled embedding of everything seen, before the classifier's hidden layer.

        It is read from the state, so every stream file has it, whatever its outputs are.

        Returns:
            (channels,) float32 for one stream, (batch, channels) for a batch.

        Raises:
            ConfigError: If a stream has seen no frame.
        """
        manifest, channels = self.runtime.manifest, self.runtime.manifest.embedding_channels
        if channels is None:
            raise ConfigError(no_embedding(manifest))
        with self.runtime.held([self]):
            held = self.runtime.engine.read_state(self.state, ("sums", "pool_weight"))
        unseen = np.flatnonzero(held["pool_weight"][:, 0] == 0)
        if len(unseen):
            which = "the stream" if self.batch_size == 1 else f"stream {unseen[0]} of the batch"
            raise ConfigError(f"{which} has seen no frame: it has no embedding yet")
        sums, weights = held["sums"][:, -channels:], held["pool_weight"]
        embeddings = np.divide(sums, weights, dtype=np.float32)
        check_numbers(embeddings, self.runtime.info)
        return embeddings[0] if self.batch_size == 1 else embeddings

    def advance(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:
        """See frames that are exactly as the file's input is.

        Args:
            frames: As the manifest's input "frames".
            output: Name of the file's output to return; None for its prediction.

        Returns:
            That output, as it is.

        Raises:
            ConfigError: If they are anything else; the stream has not moved.
        """
        check_array(frames)
        runtime = self.runtime
        spec = runtime.manifest.frames
        shape = (self.batch_size * runtime.manifest.num_frames, *spec.shape[1:])
        if frames.shape != shape or frames.dtype != spec.dtype:
            raise ConfigError(
                f"frames must be {shape} {spec.dtype}, not {frames.shape} {frames.dtype}"
            )
        with runtime.held([self]):
            # Not every engine reads numbers that do not lie one after another.
            found = runtime.engine.step(
                np.ascontiguousarray(frames), self.take_decay(), self.state, output
            )
            self.frame_counts += runtime.manifest.num_frames
        return found

    def fade(self, missed: int) -> None:
        """Let the next frame find a state that forgot as much as `missed` frames would make it.

        Without a decay nothing is forgotten.

        Args:
            missed: Frames that the stream did not see, 0 or more.
        """
        if not isinstance(missed, int | np.integer) or missed < 0:
            raise ConfigError(f"missed must be a number of frames, not {missed!r}")
        self._missed = int(missed)

    def take_decay(self) -> NDArray[np.float32]:
        """(batch, 1): what the poolings keep over the next frame, and the missed ones before it."""
        if not self._missed:
            return self.decay
        missed, self._missed = self._missed, 0
        return np.maximum(self.decay.astype(np.float64) ** (1 + missed), 1e-30).astype(np.float32)

    def set_decay(self, decay: float | Sequence[float]) -> None:
        """Change how fast the stream forgets, from the next frame on.

        Args:
            decay: What the poolings keep a frame, in (0, 1], for all streams or for each;
                `movinet.decay_from_half_life` gives it.

        Raises:
            ConfigError: If it is no such number, or the file has no decay.
        """
        values = np.broadcast_to(np.asarray(decay, np.float32), (self.batch_size,))
        if not ((values > 0) & (values <= 1)).all():
            raise ConfigError(f"decay must be in (0, 1], not {decay}")
        if not self.runtime.manifest.decays and (values != 1).any():
            raise ConfigError(f"{self.runtime.manifest.name} has no decay")
        self.decay[:, 0] = values

    def reset(self, which: int | Iterable[int] | None = None) -> None:
        """Forget every frame: of all streams, or of some of the batch."""
        manifest = self.runtime.manifest
        rows = range(self.batch_size) if which is None else _rows(which, self.batch_size)
        values = self._read()
        for state in manifest.states:
            values[state.name][list(rows)] = state.initial
        self._write(values)
        self.frame_counts[list(rows)] = 0

    def snapshot(self) -> StreamSnapshot:
        """The state as a value that later calls do not change, and that can be written to a file.

        Its axes are (batch, height, width, channels), whatever those of the file are.
        """
        manifest, counts = self.runtime.manifest, tuple(map(int, self.frame_counts))
        values = self._turned(self._read(), (0, 2, 3, 1))
        decay = tuple(map(float, self.decay[:, 0]))
        return StreamSnapshot(manifest.name, counts, values, manifest.weights_sha256, decay)

    def restore(self, snapshot: StreamSnapshot) -> None:
        """Go back to a snapshot of this or another stream of the same model.

        Another export of the same weights will do, in any format, if its state has the same form.
        That the weights are the same is checked if both files state them (those of earlier versions
        don't). The decay stays that of this stream.

        Raises:
            ConfigError: If it is of another model, other weights or another batch.
        """
        name, streams = self.runtime.manifest.name, self.batch_size
        weights = self.runtime.manifest.weights_sha256
        if not isinstance(snapshot, StreamSnapshot):
            raise ConfigError(f"restore takes what snapshot() gave, not {type(snapshot).__name__}")
        whose = f"the snapshot is of {snapshot.model} and {len(snapshot.frame_counts)} streams"
        if (snapshot.model, len(snapshot.frame_counts)) != (name, streams):
            raise ConfigError(f"{whose}, not of {name} and {streams}")
        if weights and snapshot.weights_sha256 not in ("", weights):
            raise ConfigError(f"{whose}, but of other weights: what it has seen means nothing here")
        values = self._turned(snapshot.values, (0, 3, 1, 2))
        for state in self.runtime.manifest.states:
            shape = (self.batch_size, *state.shape[1:])
            found = values.get(state.name)
            if found is None or found.shape != shape or found.dtype != state.dtype:
                raise ConfigError(
                    f"{whose}, of an export with another image size, format or quantisation: "
                    f"{state.name} does not fit"
                )
        for clock in ("frame_count", "pool_weight"):
            counts = values.get(clock)
            if counts is not None and not (np.isfinite(counts) & (counts >= 0)).all():
                raise ConfigError(f"{whose}, and its {clock} is not a count of frames")
        self._write(values)
        self.frame_counts[:] = snapshot.frame_counts

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot to a file; `ExportedRuntime.open_stream` continues from it.

        Raises:
            OSError: If it cannot be written.
        """
        self.snapshot().save(path)

    def _turned(
        self, values: dict[str, NDArray[Any]], axes: tuple[int, ...]
    ) -> dict[str, NDArray[Any]]:
        """A state's values with other axes, if those of the engine are not the usual ones."""
        if not self.runtime.engine.channels_first:
            return values
        return {
            name: np.ascontiguousarray(value.transpose(axes)) if value.ndim == 4 else value
            for name, value in values.items()
        }

    def preprocess(self, frame: Any) -> NDArray[Any]:
        """A frame of any size as the graph takes it."""
        manifest = self.runtime.manifest
        if self._resize and not manifest.resizes:
            frame = crop_pixels(np.asarray(frame), manifest.input)
        frame = np.asarray(frame)
        if frame.shape != manifest.frames.shape[1:] or frame.dtype != np.uint8:
            raise ConfigError(
                f"a frame must be {manifest.frames.shape[1:]} uint8, not {frame.shape} "
                f"{frame.dtype}"
            )
        if manifest.frames.dtype == "uint8":
            return frame
        return to_unit(frame)

    def _read(self) -> dict[str, NDArray[Any]]:
        with self.runtime.held([self]):
            return self.runtime.engine.read_state(self.state)

    def _write(self, values: dict[str, NDArray[Any]]) -> None:
        with self.runtime.held([self]):
            self.runtime.engine.write_state(self.state, values)


def no_embedding(manifest: Manifest) -> str:
    """Why a file gives no embedding, and what to do."""
    return (
        f"{manifest.name} was exported without its embedding: export it again with "
        "outputs=('logits', 'embedding') (movinet export --outputs logits,embedding)"
    )


def check_array(frames: object) -> None:
    """Raise ConfigError unless frames are an array of pixels: uint8, or floats in [0, 1]."""
    if not isinstance(frames, np.ndarray):
        raise ConfigError(f"frames must be a numpy array, not {type(frames).__name__}")
    if frames.dtype != np.uint8 and not np.issubdtype(frames.dtype, np.floating):
        raise ConfigError(
            f"frames must be uint8 in [0, 255] or float32 in [0, 1], not {frames.dtype}"
        )


def _leaves(frames: Any) -> Iterable[Any]:
    """The frames of nested sequences, in order."""
    for item in frames:
        if np.ndim(item) > 3 or isinstance(item, (list, tuple)):
            yield from _leaves(item)
        else:
            yield item


def _rows(which: int | Iterable[int], batch_size: int) -> Sequence[int]:
    rows = list(which) if isinstance(which, Iterable) else [which]
    if any(not isinstance(row, int | np.integer) or not 0 <= row < batch_size for row in rows):
        raise ConfigError(f"streams are numbered from 0 to {batch_size - 1}, not {rows}")
    return rows
