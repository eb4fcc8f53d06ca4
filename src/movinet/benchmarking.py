"""How fast models run here: each in a process of its own, all in turns.

A machine drifts by more than what is to be compared, so each model runs for a moment and hands over
to the next, round after round. A process for each keeps their memory apart.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from movinet.data.processes import deaf
from movinet.embedded import exported_path
from movinet.errors import ConfigError, MovinetError
from movinet.model_names import resolve
from movinet.opening import open_model
from movinet.runtime.formats import FORMATS
from movinet.runtime.loading import file_size

#: What each model's time is split into.
ROUNDS = 5
#: Seconds that a model runs before it is measured.
_WARM_UP = 0.3


class Subject(NamedTuple):
    """A model to measure.

    Attributes:
        name: The model, as `movinet.open_model` takes it.
        manifest: As in `movinet.load`.
    """

    name: str
    manifest: Path | None = None


@dataclass(frozen=True)
class Figures:
    """What one model took.

    Attributes:
        name: Of the subject.
        engine: What ran it, with its version.
        bytes: Size of its files; None of a preset without any.
        state_bytes: Of one stream, float32; None of base models and of PyTorch.
        load: Seconds from nothing to the first result, the engine's own import included.
        memory: Bytes that loading and running it added to the process at most; None where the
            system does not tell.
        unit: What one step sees: frames of a stream, or of a clip.
        latency: Seconds of each step, in the order measured.
        streams: Streams of `throughput`; 1 of base models.
        throughput: Frames a second over all of them.
    """

    name: str
    engine: str
    bytes: int | None
    state_bytes: int | None
    load: float
    memory: int | None
    unit: int
    latency: tuple[float, ...]
    streams: int
    throughput: float

    def percentile(self, share: float) -> float:
        """Seconds that `share` per cent of the steps stay below."""
        return float(np.percentile(self.latency, share))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = {"median": 50, "p90": 90, "p99": 99}
        return {
            **{name: value for name, value in vars(self).items() if name != "latency"},
            "steps": len(self.latency),
            "latency": {name: self.percentile(share) for name, share in told.items()},
            "frames_per_second": self.unit * len(self.latency) / sum(self.latency),
        }


def benchmark(
    subjects: Sequence[Subject],
    *,
    seconds: float = 3.0,
    streams: int = 8,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Figures]:
    """Measure models.

    A step of a stream begins with a uint8 frame whose shorter side is already that of the model:
    cropping and softmax count, decoding and resizing do not. A base model sees a clip that has been
    preprocessed. A script that calls this needs the usual ``if __name__ == "__main__":``.

    Args:
        subjects: The models.
        seconds: For each model's latency, and as many for its throughput, at least one step each.
        streams: Streams that are stepped in turn, or as a batch where the file takes any number.
        threads: Of one step.
        progress: Called with the rounds done and all of them.

    Returns:
        Figures in the order of the subjects.

    Raises:
        ConfigError: If an option is not allowed, or a model is an ensemble.
        MovinetError: If a model cannot be loaded or run.
    """
    if not subjects:
        raise ConfigError("name at least one model")
    for what, value, most in (("streams", streams, 4096), ("threads", threads, 256)):
        if not 1 <= value <= most:
            raise ConfigError(f"{what} must be from 1 to {most}, not {value}")
    if not 0 < seconds <= 3600:
        raise ConfigError(f"seconds must be positive and at most 3600, not {seconds:g}")
    with contextlib.ExitStack() as stack:
        # One after the other: loading is measured too.
        workers = [stack.enter_context(_worker(subject, streams, threads)) for subject in subjects]
        turns = [kind for kind in ("step", "many") for _ in range(ROUNDS)]
        for number, kind in enumerate(turns):
            for worker in workers:
                worker.run(kind, seconds / ROUNDS)
            if progress is not None:
                progress(number + 1, len(turns))
        return [worker.figures() for worker in workers]


def machine() -> dict[str, Any]:
    """What the figures are of."""
    name = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    return {
        "processor": name or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


class _Worker:
    """A process that has loaded one model, as its parent sees it."""

    def __init__(self, subject: Subject, pipe: Connection) -> None:
        self._subject, self._pipe = subject, pipe
        self._taken: dict[str, list[float]] = {"step": [], "many": []}
        self._facts = self._receive()

    def run(self, kind: str, seconds: float) -> None:
        """Let it run for a moment: steps of one stream ("step") or of all ("many")."""
        self._pipe.send((kind, seconds))
        self._taken[kind] += self._receive()

    def figures(self) -> Figures:
        """What all its turns come to."""
        self._pipe.send(("memory", 0.0))
        memory, many = self._receive(), self._taken["many"]
        frames = self._facts.pop("unit_many") * len(many)
        return Figures(
            name=self._subject.name,
            memory=memory,
            latency=tuple(self._taken["step"]),
            throughput=frames / sum(many),
            **self._facts,
        )

    def _receive(self) -> Any:
        name = self._subject.name
        try:
            kind, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise MovinetError(f"{name}: its process ended by itself (out of memory?)") from None
        if kind != "done":
            raise (ConfigError if kind == "usage" else MovinetError)(value)
        return value


@contextlib.contextmanager
def _worker(subject: Subject, streams: int, threads: int) -> Iterator[_Worker]:
    """A process that runs one model until the end of the context."""
    context = multiprocessing.get_context("spawn")  # a fork would share the parent's memory
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, subject, streams, threads), daemon=True)
    with deaf():  # Ctrl-C is for this process; the other one ends when its pipe is closed
        process.start()
    theirs.close()
    try:
        yield _Worker(subject, ours)
    finally:
        ours.close()  # it ends
        process.join(5)
        process.kill()


def _serve(pipe: Connection, subject: Subject, streams: int, threads: int) -> None:
    """Load the model, then do what is asked until nobody asks any more."""
    try:
        before, start = _memory("VmRSS"), time.perf_counter()
        running = _Running(subject, streams, threads)
        running.step()
        facts = running.facts(time.perf_counter() - start)
        running.run("step", _WARM_UP)
        pipe.send(("done", facts))
        alone = None
        while True:
            kind, seconds = pipe.recv()
            if kind == "many" and alone is None:
                alone = _memory("VmHWM")  # before there are more streams
                running.run("many", _WARM_UP)
            if kind == "memory":
                pipe.send(("done", None if alone is None or before is None else alone - before))
            else:
                pipe.send(("done", running.run(kind, seconds)))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return
    except ConfigError as error:
        pipe.send(("usage", str(error)))
    except Exception as error:  # whatever it is, it belongs to this model
        said = str(error) if isinstance(error, (MovinetError, OSError)) else repr(error)
        pipe.send(("failed", said if subject.name in said else f"{subject.name}: {said}"))


class _Running:
    """A loaded model, ready to be stepped.

    Attributes:
        step: Sees the next frames of one stream, or a clip.
        many: Sees those of all streams.
    """

    def __init__(self, subject: Subject, streams: int, threads: int) -> None:
        self.subject, self.streams = subject, streams
        runtime = open_model(subject.name, num_threads=threads, manifest=subject.manifest)
        if runtime.members:
            raise ConfigError(f"{runtime.info.name} is an ensemble: measure its members")
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
        self.runtime = runtime
        self.manifest: Any = getattr(runtime, "manifest", None)
        if runtime.info.streaming:
            self._prepare_streams(runtime)
        else:
            spec = runtime.info.input
            shape = (spec.num_frames, spec.image_size, spec.image_size, 3)
            clip = np.random.default_rng(0).random(shape, np.float32)
            self.unit = self.unit_many = spec.num_frames
            self.streams = 1
            self.step = self.many = lambda: runtime.clip_logits(clip)

    def _prepare_streams(self, runtime: Any) -> None:
        spec, manifest = runtime.info.input, self.manifest
        shape = (spec.short_side, spec.short_side, 3)
        if manifest is not None and manifest.resizes:
            shape = manifest.frames.shape[1:]
        frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        at_once = 1 if manifest is None else manifest.num_frames
        batch = 1 if manifest is None else manifest.batch_size
        self.unit = at_once * (batch or 1)
        frames: Any = frame if self.unit == 1 else [frame] * self.unit
        stream = runtime.stream()
        self.step = lambda: stream(frames)
        if batch is None:
            together = runtime.stream(batch_size=self.streams)
            self.unit_many = at_once * self.streams
            batched: Any = frame if self.unit_many == 1 else [frame] * self.unit_many
            self.many = lambda: together(batched)
            return
        several = [runtime.stream() for _ in range(-(-self.streams // batch))]
        self.streams = len(several) * batch
        self.unit_many = len(several) * self.unit
        self.many = lambda: [one(frames) for one in several]

    def facts(self, load: float) -> dict[str, Any]:
        """What `Figures` tells besides what is measured in turns."""
        subject, manifest = self.subject, self.manifest
        path = Path(subject.name)
        if resolve(subject.name).kind == "bundled":
            path = exported_path(subject.name)
        engine, package = ("PyTorch", "torch")
        state_bytes = None
        if manifest is not None:
            row = FORMATS[path.suffix]
            engine, package = row.short or row.title, row.package
            if manifest.kind == "step":
                sizes = [4 * int(np.prod(state.shape[1:])) for state in manifest.states]
                state_bytes = sum(sizes)
        return {
            "engine": f"{engine} {importlib.metadata.version(package)}",
            "bytes": file_size(path) if path.is_file() else None,
            "state_bytes": state_bytes,
            "load": load,
            "unit": self.unit,
            "unit_many": self.unit_many,
            "streams": self.streams,
        }

    def run(self, kind: str, seconds: float) -> list[float]:
        """Seconds of each call within a time, of one call at least."""
        call = self.step if kind == "step" else self.many
        taken, end = [], time.perf_counter() + seconds
        while not taken or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        return taken


def _memory(what: str) -> int | None:
    """Bytes of this process: "VmRSS", now, or "VmHWM", at most so far."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(what)))
    if sys.platform == "darwin":  # the most so far; bytes
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
