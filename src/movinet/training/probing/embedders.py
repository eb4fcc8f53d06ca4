"""Embeddings of samples, computed by the fastest engine that can give them."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.errors import MovinetError
from movinet.evaluation.views import Look, stream_pixels, stream_times, window_clips
from movinet.network.config import InputSpec
from movinet.network.model import MoViNet
from movinet.runtime.base import Runtime
from movinet.video.container import SkippedPacket

#: Raise it when the same network, video and views get other embeddings.
_VERSION = 1


class Views(NamedTuple):
    """Which embeddings of a sample are computed.

    Attributes:
        moments: Stream models: how many moments, spread evenly up to the end of the sample.
        windows: Base models: how many windows, as in evaluation.
        crops: Base models: crops of each window, 1 or 3.
    """

    moments: int
    windows: int
    crops: int

    def number(self, *, streams: bool) -> int:
        """How many embeddings a sample has."""
        return self.moments if streams else self.windows * self.crops

    def evaluated(self, *, streams: bool) -> slice:
        """Those that evaluation sees: the last of a stream, all of a base model's."""
        return slice(-1, None) if streams else slice(None)


class Embedder(Protocol):
    """Computes embeddings; may be used from several threads at once.

    Attributes:
        engine: What runs the network, for people and for the cache's key.
    """

    engine: str

    def __call__(self, sample: Sample, skipped: list[SkippedPacket]) -> NDArray[np.float32]:
        """The embeddings of a sample, (views, channels).

        Args:
            sample: The sample.
            skipped: Packets that could not be decoded are appended here.

        Raises:
            VideoError: If it cannot be read.
        """
        ...


@contextlib.contextmanager
def open_embedder(
    model: MoViNet, spec: InputSpec, views: Views, device: torch.device
) -> Iterator[Embedder]:
    """The fastest engine for a network: on a CPU the native one for streams, else PyTorch.

    Args:
        model: In evaluation mode; is moved to `device` if PyTorch runs it.
        spec: Its input.
        views: What is computed of a sample.
        device: Where.
    """
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        runtimes = None
        if device.type == "cpu" and model.config.streams:
            runtimes = _native(model, spec, Path(folder))
        if runtimes is not None:
            yield _EmbedderOf("native", runtimes, spec, views, streams=True)
        else:
            from movinet.torch_runtime import wrap

            labels = [f"class {i}" for i in range(model.config.num_classes)]
            runtime, lock = wrap(model.to(device), labels, spec), threading.Lock()
            streams = model.config.streams
            yield _EmbedderOf(
                f"PyTorch on {device.type}",
                lambda: runtime,
                spec,
                views,
                streams=streams,
                lock=lock,
            )


def _native(model: MoViNet, spec: InputSpec, folder: Path) -> Callable[[], Runtime] | None:
    """Makes runtimes of the native engine, one for each thread that asks; None without it."""
    try:
        from movinet import _native as _  # noqa: F401 - only whether it is there
        from movinet.exporting.export import export
        from movinet.runtime.loading import load

        file = folder / "backbone.mvn"
        export(model, file, input_spec=spec)
    except (ImportError, MovinetError):  # not built here, or a network that it does not run
        return None
    own = threading.local()

    def runtime() -> Runtime:
        if not hasattr(own, "runtime"):
            own.runtime = load(file)
        return own.runtime

    return runtime


class _EmbedderOf:
    """Embeddings by a runtime; see `Embedder`."""

    def __init__(
        self,
        engine: str,
        runtime: Callable[[], Runtime],
        spec: InputSpec,
        views: Views,
        *,
        streams: bool,
        lock: threading.Lock | None = None,
    ) -> None:
        self.engine, self._runtime, self._spec, self._views = engine, runtime, spec, views
        self._streams, self._lock = streams, lock or contextlib.nullcontext()

    def __call__(self, sample: Sample, skipped: list[SkippedPacket]) -> NDArray[np.float32]:
        """See `Embedder`."""
        runtime = self._runtime()
        rows = (
            self._stream(runtime, sample, skipped)
            if self._streams
            else [self._clip(runtime, clip) for clip in self._clips(sample, skipped)]
        )
        return np.stack(rows).astype(np.float32)

    def _stream(
        self, runtime: Runtime, sample: Sample, skipped: list[SkippedPacket]
    ) -> list[NDArray[np.float32]]:
        times = stream_times(sample, self._spec.frame_rate)
        ends = moments(len(times), self._views.moments)
        rows: dict[int, NDArray[np.float32]] = {}
        state: Any = None
        first = 0
        for pixels in stream_pixels(sample, times, self._spec, skipped):
            with self._lock:
                embeddings, state = runtime.running_embeddings(pixels, state)
            rows |= {
                end: embeddings[end - first] for end in ends if first <= end < first + len(pixels)
            }
            first += len(pixels)
        return [rows[end] for end in ends]

    def _clips(self, sample: Sample, skipped: list[SkippedPacket]) -> Iterator[NDArray[np.uint8]]:
        look = Look(self._views.windows, self._views.crops)
        for window in range(look.views):
            yield from window_clips(sample, 0, window, self._spec, look, 0.0, skipped)

    def _clip(self, runtime: Runtime, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock:
            return runtime.clip_embedding(clip)


def moments(frames: int, count: int) -> list[int]:
    """The last frame of each of `count` equal parts of a sample; short samples have some twice."""
    return [math.ceil(frames * part / count) - 1 for part in range(1, count + 1)]


def describe(model: MoViNet, spec: InputSpec, views: Views, engine: str) -> dict[str, Any]:
    """All that decides a sample's embeddings beside the sample, for the cache's key."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith(("hidden.", "classifier.")) and not name.endswith("_tracked"):
            digest.update(f"{name} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    config = model.config.to_dict()
    for field in ("num_classes", "head_activation", "lowering", "dropout", "drop_path"):
        del config[field]
    streams = model.config.streams
    return {
        "version": _VERSION,
        "weights_sha256": digest.hexdigest(),
        "config": config,
        "input": vars(spec) if not streams else {**vars(spec), "num_frames": None},
        "views": {"moments": views.moments}
        if streams
        else {"windows": views.windows, "crops": views.crops},
        "engine": engine,
    }


def worker_count(workers: int | None) -> int:
    """Threads that decode and compute."""
    return workers or min(16, os.cpu_count() or 1)
