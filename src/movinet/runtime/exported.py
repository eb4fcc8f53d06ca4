"""Exported files as runtimes: streams and clips on any engine, without PyTorch."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.runtime.base import ModelInfo, check_numbers
from movinet.runtime.engine import Engine
from movinet.runtime.numbers import decay_from_half_life, to_logits, to_probabilities
from movinet.runtime.snapshot import StreamSnapshot
from movinet.runtime.stream import ExportedStream, check_array, no_embedding
from movinet.text import one_line
from movinet.video.preprocessing import to_unit

#: Of one batch; any number of batches may exist.
MAX_STREAMS = 4096


class ExportedRuntime:
    """An exported file behind the runtime protocol.

    Any number of streams share it; each keeps a state of its own. It may be used from several
    threads: their steps take turns, or run at the same time if the engine allows it (.mvn) and they
    are of different streams.

    Attributes:
        engine: What runs the graph.
        where: The file, for messages.
        lock: Held while the engine runs, unless it is reentrant.
        info: What travels with the model.
        manifest: The same in full.
        members: Empty; no exported file is an ensemble.
    """

    members: tuple[ExportedRuntime, ...] = ()

    def __init__(self, engine: Engine, where: str = "") -> None:
        self.engine, self.manifest = engine, engine.manifest
        manifest = engine.manifest
        self.where = where or manifest.name
        spec = manifest.input
        if manifest.kind == "clip":  # it holds no other length
            spec = dataclasses.replace(spec, num_frames=manifest.num_frames)
        self.info = ModelInfo(
            manifest.name,
            spec,
            manifest.labels,
            manifest.kind == "step",
            manifest.origin,
            manifest.notes,
            multi_label=manifest.multi_label,
        )
        self.lock = threading.Lock()

    def stream(
        self, *, half_life: float | None = None, batch_size: int | None = None, resize: bool = True
    ) -> ExportedStream:
        """A new stream, or a batch of them.

        Args:
            half_life: Seconds after which a frame counts half in the poolings, for streams without
                an end; None for the mean of all frames, as published.
            batch_size: Streams that are stepped together; by default as many as the file was made
                for, or 1 where it takes any number.
            resize: Preprocess frames of any size. Without, they must have the size of the file's
                input and are taken as they are.

        Raises:
            ConfigError: If the file holds no stream, or not of this batch size, or an argument is
                none of those.
        """
        manifest = self.manifest
        if manifest.kind != "step":
            raise ConfigError(f"{manifest.name} is a base model: it sees whole clips")
        if batch_size is None:
            batch_size = manifest.batch_size or 1
        whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
        if not whole or not 1 <= batch_size <= MAX_STREAMS:
            raise ConfigError(
                f"batch_size must be an integer from 1 to {MAX_STREAMS}, not {batch_size!r}"
            )
        if manifest.batch_size not in (None, batch_size):
            raise ConfigError(
                f"{manifest.name} was exported for {manifest.batch_size} streams at once, not "
                f"{batch_size}; export it with batch_size={batch_size}, or with a free one"
            )
        decay = 1.0
        if half_life is not None:
            if not manifest.decays:
                raise ConfigError(
                    f"{manifest.name} has no decay, since another program exported it: omit the "
                    "half-life, or convert it to weights ('movinet convert') and export those"
                )
            decay = decay_from_half_life(half_life, self.info.input.frame_rate)
        return ExportedStream(self, batch_size, decay, resize)

    def step(
        self,
        streams: Sequence[ExportedStream],
        frames: Sequence[NDArray[np.uint8]],
        *,
        check: bool = True,
    ) -> NDArray[np.float32]:
        """See the next frame of each of several streams, whichever they are, in one call.

        Each stream keeps its own state, decay and number of frames. The results are those of
        stepping the streams one by one; the engine of .mvn files is faster this way.

        Args:
            streams: Streams of this runtime, each once, of a batch size of 1.
            frames: The next frame of each: (height, width, 3) uint8 RGB.
            check: Refuse NaN and infinite values. If not, the rows of their streams are NaN, and
                the other streams have theirs.

        Returns:
            (streams, classes) float32 probabilities.

        Raises:
            ConfigError: If the streams or frames do not fit; no stream has moved.
            CheckpointError: If the engine cannot run the file.
            MovinetError: If the model gives NaN or infinite values, and they are checked.
        """
        if len(streams) != len(frames) or not streams:
            raise ConfigError(
                f"expected a frame for each stream, got {len(frames)} frames and "
                f"{len(streams)} streams"
            )
        for stream in streams:
            if getattr(stream, "runtime", None) is not self or not stream.is_single:
                raise ConfigError("expected streams of this runtime, of one video and frame each")
        if len({id(stream) for stream in streams}) != len(streams):
            raise ConfigError("each stream can see one frame in a step, and one is there twice")
        pixels = np.stack([s.preprocess(frame) for s, frame in zip(streams, frames, strict=True)])
        with self.held(streams):
            decay = np.concatenate([stream.take_decay() for stream in streams])
            if self.engine.joins:
                states = [part for stream in streams for part in stream.state]
                outputs = self.engine.step(pixels, decay, states)
            else:
                outputs = np.concatenate(
                    [
                        self.engine.step(pixels[i : i + 1], decay[i : i + 1], stream.state)
                        for i, stream in enumerate(streams)
                    ]
                )
            for stream in streams:
                stream.frame_counts += 1
        if check:
            check_numbers(outputs, self.info)
        else:
            outputs = np.where(np.isfinite(outputs).all(axis=1, keepdims=True), outputs, np.nan)
        return self.probabilities(outputs)

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (..., classes) of the file's predictions, which may be logits."""
        if self.manifest.output == "probabilities":
            return outputs
        found = to_probabilities(outputs, multi_label=self.info.multi_label)
        return found.astype(np.float32)

    @contextlib.contextmanager
    def held(self, streams: Sequence[ExportedStream]) -> Iterator[None]:
        """Nobody else steps, reads or writes these streams meanwhile."""
        if not self.engine.reentrant:
            with self.lock, self.telling():
                yield
            return
        with contextlib.ExitStack() as stack:
            for stream in sorted(streams, key=id):  # everybody takes them in the same order
                stack.enter_context(stream.lock)
            with self.telling():
                yield

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Whatever an engine raises becomes one line: each has exceptions of its own."""
        try:
            yield
        except MovinetError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"{self.where}: its engine cannot run it ({one_line(error)})"
            ) from error

    def open_stream(
        self, snapshot: str | os.PathLike[str] | StreamSnapshot, *, resize: bool = True
    ) -> ExportedStream:
        """A stream that continues from a snapshot, with the decay that it had.

        Args:
            snapshot: The file that `ExportedStream.save` wrote, or a snapshot.
            resize: As in `stream`.

        Raises:
            CheckpointError: If the file cannot be read, or is no snapshot.
            ConfigError: If it is of another model or other weights, or its state has another form.
        """
        if not isinstance(snapshot, StreamSnapshot):
            snapshot = StreamSnapshot.load(snapshot)
        if snapshot.model != self.manifest.name:
            raise ConfigError(
                f"the snapshot is of {one_line(snapshot.model)}, not of {self.manifest.name}"
            )
        stream = self.stream(batch_size=len(snapshot.frame_counts), resize=resize)
        stream.restore(snapshot)
        if snapshot.decay:
            stream.set_decay(snapshot.decay)
        return stream

    def running_logits(
        self,
        frames: NDArray[Any],
        state: Any = None,
        *,
        half_life: float | None = None,
    ) -> tuple[NDArray[np.float32], Any]:
        """See `Runtime.running_logits`; probabilities are turned back into logits."""
        check_array(frames)
        stream = state or self._single_stream(half_life)
        outputs = [stream.advance(self._as_input(frame)[None]) for frame in frames]
        return self._logits(np.concatenate(outputs)), stream

    def running_embeddings(
        self, frames: NDArray[Any], state: Any = None
    ) -> tuple[NDArray[np.float32], Any]:
        """See `Runtime.running_embeddings`."""
        check_array(frames)
        stream = state or self._single_stream()
        pixels = (self._as_input(frame)[None] for frame in frames)
        if self.manifest.embedding is not None:  # the native engine omits the classifier then
            outputs = [stream.advance(frame, "embedding") for frame in pixels]
            return np.concatenate(outputs), stream
        embeddings = []
        for frame in pixels:
            stream.advance(frame)
            embeddings.append(stream.embedding)
        return np.stack(embeddings), stream

    def clip_logits(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.clip_logits`; probabilities are turned back into logits."""
        return self._logits(self._clip(frames))[0]

    def clip_embedding(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """See `Runtime.clip_embedding`."""
        if self.manifest.kind == "clip" and self.manifest.embedding is None:
            raise ConfigError(no_embedding(self.manifest))
        return self._clip(frames, "embedding")[0]

    def _clip(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:
        """An output of one clip, (1, classes or channels)."""
        check_array(frames)
        manifest = self.manifest
        if manifest.kind != "clip" or manifest.batch_size != 1:
            raise ConfigError(f"{manifest.name} does not take one clip at a time")
        if frames.shape != manifest.frames.shape:
            raise ConfigError(
                f"{manifest.name} was exported for clips of {manifest.num_frames} frames, "
                f"{manifest.frames.shape}, not {frames.shape}; export it with "
                f"num_frames={len(frames)}"
            )
        with self.lock, self.telling():
            return self.engine.clip(np.ascontiguousarray(self._as_input(frames)), output)

    def _single_stream(self, half_life: float | None = None) -> ExportedStream:
        stream = self.stream(half_life=half_life, batch_size=1, resize=False)
        if self.manifest.num_frames != 1:
            raise ConfigError(
                f"{self.manifest.name} was exported for {self.manifest.num_frames} frames at a "
                "time: prediction and evaluation need num_frames=1"
            )
        return stream

    def _as_input(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Preprocessed frames, uint8 or float, as the graph takes them."""
        if self.manifest.resizes:
            raise ConfigError(
                f"{self.manifest.name} resizes frames of one size itself: it takes no others"
            )
        is_pixels = frames.dtype == np.uint8
        if self.manifest.frames.dtype == "float32":
            return to_unit(frames) if is_pixels else np.ascontiguousarray(frames, np.float32)
        if is_pixels:
            return frames
        return np.rint(frames * np.float32(255)).astype(np.uint8)

    def _logits(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.manifest.output == "logits":
            return outputs
        return to_logits(outputs, multi_label=self.info.multi_label).astype(np.float32)
