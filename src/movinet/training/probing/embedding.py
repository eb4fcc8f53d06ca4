"""Embeddings of whole data sets, computed once each and cached."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from movinet.data.samples import DataSet
from movinet.errors import TrainingError, VideoError
from movinet.network.model import MoViNet
from movinet.training.console import Messages
from movinet.training.probing.cache import EmbeddingCache
from movinet.training.probing.embedders import (
    Embedder,
    Views,
    describe,
    open_embedder,
    worker_count,
)
from movinet.training.probing.settings import ProbeConfig
from movinet.video.container import SkippedPacket

#: Classes that are named on the console.
_NAMED = 10


class Embedded(NamedTuple):
    """Embeddings of the samples of a data set that could be read.

    Attributes:
        indices: Their numbers.
        embeddings: (samples, views, channels) float32.
        failures: Name of each other sample, and the reason.
        damaged: Names of samples of which some packets could not be decoded.
    """

    indices: list[int]
    embeddings: NDArray[np.float32]
    failures: list[tuple[str, str]]
    damaged: list[str]


def embed(
    config: ProbeConfig,
    model: MoViNet,
    device: torch.device,
    data_sets: Sequence[DataSet],
    messages: Messages,
) -> tuple[list[Embedded], str]:
    """Embeddings of all data sets, and the engine that computed them."""
    streams, spec = model.config.streams, config.input.spec()
    views = Views(config.probe.moments, config.run.views, config.run.crops)
    total = sum(len(data) for data in data_sets)
    with open_embedder(model, spec, views, device) as embedder:
        cache = None
        if config.probe.cache:
            shape = (views.number(streams=streams), model.config.architecture.head)
            cache = EmbeddingCache(describe(model, spec, views, embedder.engine), shape)
        messages.facts(_facts(config, data_sets, embedder.engine))
        workers = worker_count(config.data.workers)
        try:
            with _progress(messages, total) as advance:
                seen = [_embed_data(data, embedder, cache, workers, advance) for data in data_sets]
        except KeyboardInterrupt:
            messages.say("note", _interruption(cache))
            raise
        if cache is not None:
            cache.prune()
            if not cache.works:
                messages.say("warning", "the cache cannot be written: embeddings were not kept")
        return seen, embedder.engine


def _interruption(cache: EmbeddingCache | None) -> str:
    """What a probe that was interrupted leaves."""
    if cache is None or not cache.works:
        return "interrupted: nothing was kept (probe.cache=true keeps embeddings)"
    return (
        "interrupted: the embeddings computed so far are in the cache; the same command continues "
        "from there"
    )


def _embed_data(
    data: DataSet,
    embedder: Embedder,
    cache: EmbeddingCache | None,
    workers: int,
    advance: Callable[[], None],
) -> Embedded:
    """Embeddings of one data set, several samples at a time."""

    def embed(index: int) -> NDArray[np.float32] | str:
        sample = data.samples[index]
        values = None if cache is None else cache.read(sample)
        if values is None:
            skipped: list[SkippedPacket] = []
            try:
                values = embedder(sample, skipped)
            except (VideoError, OSError) as error:
                return str(error).removeprefix(f"{sample.media.name}: ")
            # A damaged sample is not cached, so that every run reports it.
            if not all(packet.note for packet in skipped):
                damaged.append(sample.media.name)
            elif cache is not None:
                cache.write(sample, values)
        return values

    indices, rows, failures = [], [], []
    damaged: list[str] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for index, result in enumerate(pool.map(embed, range(len(data)))):
                advance()
                if isinstance(result, str):
                    failures.append((data.samples[index].media.name, result))
                else:
                    indices.append(index)
                    rows.append(result)
        finally:
            pool.shutdown(cancel_futures=True)
    if not rows:
        raise TrainingError(f"{data.name}: no sample can be read; run movinet data check on it")
    return Embedded(indices, np.stack(rows), failures, sorted(damaged))


@contextlib.contextmanager
def _progress(messages: Messages, total: int) -> Iterator[Callable[[], None]]:
    """One bar for all samples, where somebody sees it."""
    if not (messages.shown and messages.console.is_terminal):
        yield lambda: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: tuple[Any, ...] = (
        TextColumn("embeddings"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages.console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _facts(config: ProbeConfig, data_sets: Sequence[DataSet], engine: str) -> list[tuple[str, str]]:
    train, *valid = data_sets
    evaluated = f"; {len(valid[0])} to evaluate on" if valid else "; no evaluation"
    shape = config.input
    return [
        ("run", config.run.folder),
        (
            "model",
            f"{'own architecture' if config.model.architecture else config.model.preset}, "
            f"frozen, from {config.model.weights}",
        ),
        ("classes", f"{len(train.labels)}: {', '.join(train.labels[:_NAMED])}"),
        ("samples", f"{len(train)} to fit on{evaluated}"),
        (
            "input",
            f"{shape.image_size} x {shape.image_size} pixels at {shape.frame_rate:g} a second",
        ),
        ("engine", engine),
    ]
