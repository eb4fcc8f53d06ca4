"""Exported files as runtimes: streams and clips on any engine, without PyTorch."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.runtime.base import ModelInfo, check_numbers
from movinet.runtime.engine import Engine
from movinet.runtime.manifest import Manifest
from movinet.runtime.numbers import decay_from_half_life, to_logits, to_probabilities
from movinet.runtime.snapshot import StreamSnapshot
from movinet.text import one_line
from movinet.video.preprocessing import crop_pixels

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
            decay = decay_from_half_life(half_life, manifest.input.frame_rate)
        return ExportedStream(self, batch_size, decay, resize)

    def step(
        self, streams: Sequence[ExportedStream], frames: Sequence[NDArray[np.uint8]]
    ) -> NDArray[np.float32]:
        """See the next frame of each of several streams, whichever they are, in one call.

        Each stream keeps its own state, decay and number of frames. The results are those of
        stepping the streams one by one; the engine of .mvn files is faster this way.

        Args:
            streams: Streams of this runtime, each once, of a batch size of 1.
            frames: The next frame of each: (height, width, 3) uint8 RGB.

        Returns:
            (streams, classes) float32 probabilities.

        Raises:
            ConfigError: If the streams or frames do not fit; no stream has moved.
            CheckpointError: If the engine cannot run the file.
            MovinetError: If the model gives NaN or infinite values.
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
        check_numbers(outputs, self.info)
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
        frames: NDArray[np.float32],
        state: Any = None,
        *,
        half_life: float | None = None,
    ) -> tuple[NDArray[np.float32], Any]:
        """See `Runtime.running_logits`; probabilities are turned back into logits."""
        _check_array(frames)
        stream = state or self._single_stream(half_life)
        pixels = self._as_input(frames)
        outputs = [stream.advance(frame[None]) for frame in pixels]
        return self._logits(np.concatenate(outputs)), stream

    def running_embeddings(
        self, frames: NDArray[np.float32], state: Any = None
    ) -> tuple[NDArray[np.float32], Any]:
        """See `Runtime.running_embeddings`."""
        _check_array(frames)
        stream = state or self._single_stream()
        pixels = self._as_input(frames)
        if self.manifest.embedding is not None:  # the native engine omits the classifier then
            outputs = [stream.advance(frame[None], "embedding") for frame in pixels]
            return np.concatenate(outputs), stream
        embeddings = []
        for frame in pixels:
            stream.advance(frame[None])
            embeddings.append(stream.embedding)
        return np.stack(embeddings), stream

    def clip_logits(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Runtime.clip_logits`; probabilities are turned back into logits."""
        return self._logits(self._clip(frames))[0]

    def clip_embedding(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Runtime.clip_embedding`."""
        if self.manifest.kind == "clip" and self.manifest.embedding is None:
            raise ConfigError(_no_embedding(self.manifest))
        return self._clip(frames, "embedding")[0]

    def _clip(self, frames: NDArray[np.float32], output: str | None = None) -> NDArray[np.float32]:
        """An output of one clip, (1, classes or channels)."""
        _check_array(frames)
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

    def _as_input(self, frames: NDArray[np.float32]) -> NDArray[Any]:
        """Preprocessed frames as the graph wants them."""
        if self.manifest.resizes:
            raise ConfigError(
                f"{self.manifest.name} resizes frames of one size itself: it takes no others"
            )
        if self.manifest.frames.dtype == "float32":
            return np.ascontiguousarray(frames, np.float32)
        return np.rint(frames * np.float32(255)).astype(np.uint8)

    def _logits(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.manifest.output == "logits":
            return outputs
        return to_logits(outputs, multi_label=self.info.multi_label).astype(np.float32)


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
            raise ConfigError(f"a sequence of frames is due, not {type(frames).__name__}")
        listed = list(_leaves(frames))
        wanted = self.batch_size * manifest.num_frames
        if len(listed) != wanted:
            raise ConfigError(f"{wanted} frames are due at a time, not {len(listed)}")
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
            raise ConfigError(_no_embedding(manifest))
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
        _check_array(frames)
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
        return np.divide(frame, np.float32(255), dtype=np.float32)

    def _read(self) -> dict[str, NDArray[Any]]:
        with self.runtime.held([self]):
            return self.runtime.engine.read_state(self.state)

    def _write(self, values: dict[str, NDArray[Any]]) -> None:
        with self.runtime.held([self]):
            self.runtime.engine.write_state(self.state, values)


def _no_embedding(manifest: Manifest) -> str:
    return (
        f"{manifest.name} was exported without its embedding: export it again with "
        "outputs=('logits', 'embedding') (movinet export --outputs logits,embedding)"
    )


def _check_array(frames: object) -> None:
    if not isinstance(frames, np.ndarray):
        raise ConfigError(f"frames must be a numpy array, not {type(frames).__name__}")


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
