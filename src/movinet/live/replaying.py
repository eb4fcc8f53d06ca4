"""Replay of a logged live run: the same packets, the same frames, the same gaps."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from av.codec import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError, VideoError
from movinet.events import Rules, parse_rules
from movinet.live.opening import check_size, decoded
from movinet.live.options import WatchOptions
from movinet.live.reading import Waiting
from movinet.live.results import LiveResult
from movinet.live.runlog import (
    CLOSED,
    CONNECTION,
    DECODERS,
    END,
    HEADER,
    PACKET,
    SETTINGS,
    STEP,
    VERSION,
    LogReader,
    Record,
    digest,
)
from movinet.live.sources import LiveSource
from movinet.live.watching import Watcher
from movinet.opening import as_runtime
from movinet.runtime.base import Runtime
from movinet.runtime.saved_run import finite
from movinet.runtime.tensor_file import DAMAGE
from movinet.text import is_name, one_line
from movinet.video.container import MAX_PIXELS
from movinet.video.pixels import Orientation, RgbConverter

#: Sources of one log: each has a decoder and a stream of the model.
_MOST_SOURCES = 64
#: Larger numbers of ticks and pictures are none.
_LIMIT = 2**53


class Replayed(NamedTuple):
    """A result that was computed again.

    Attributes:
        result: The result, with the times of the log.
        same: Whether its probabilities and events are those of the log, bit for bit.
    """

    result: LiveResult
    same: bool


class Replay:
    """A log of `movinet.watch`, whose results are computed again and compared.

    Args:
        path: The log.
        model: The model of the run, as `movinet.open_model` takes it.

    Attributes:
        version: The version of movinet that wrote it.
        whole: Whether the log goes on to the end of the run; known after the last result. One of a
            run that was killed does not, nor does one that had its full size.

    Raises:
        CheckpointError: If it is no log, or damaged.
        ConfigError: If the log is of another model.
        OSError: If it cannot be read.
    """

    def __init__(
        self, path: str | os.PathLike[str], model: str | os.PathLike[str] | Runtime = "motions"
    ) -> None:
        self._log, self.whole = LogReader(path), False
        try:
            first = next(self._log.records(), None)
            if first is None or first.kind != HEADER:
                raise CheckpointError(f"{self._log.path}: the log is empty")
            header = self._log.values(first)
            if header.get("version") != VERSION:
                raise CheckpointError(f"{self._log.path}: the log is of another version of movinet")
            self.version = one_line(header.get("movinet"))
            runtime = as_runtime(model)
            self._compare(header, runtime)
            try:
                names, options = _names(header["sources"]), _options(header)
                sources = [LiveSource(name, "udp", "") for name in names]
            except DAMAGE:
                raise self._log.damaged(first.start) from None
            self._watcher = Watcher(sources, runtime, options, lambda _: None)
            self._pictures = [_Pictures(self._log, i, name) for i, name in enumerate(names)]
        except BaseException:
            self._log.close()
            raise

    def _compare(self, header: Mapping[str, Any], runtime: Runtime) -> None:
        """Raise ConfigError if the log is of another model."""
        weights = getattr(getattr(runtime, "manifest", None), "weights_sha256", "")
        logged = header.get("weights_sha256")
        if runtime.info.name != header.get("model"):
            of = one_line(header.get("model"))
        elif weights and logged and weights != logged:
            of = f"weights {one_line(logged)[:12]} of {runtime.info.name}"
        else:
            return
        raise ConfigError(
            f"{self._log.path}: the log is of {of}, not of {runtime.info.name} "
            f"({runtime.info.origin}); name the model of the log"
        )

    def results(self) -> Generator[Replayed]:
        """Compute every result of the log again; can be called once.

        Yields:
            Results in the order in which they came.

        Raises:
            CheckpointError: If the log is damaged.
            VideoError: If a picture of it cannot be decoded.
        """
        try:
            for record in self._log.records():
                if record.source >= len(self._pictures):
                    raise self._log.damaged(record.start)
                if record.kind == CLOSED:
                    self.whole = True
                elif record.kind in (STEP, END):
                    try:
                        yield self._repeat(record, self._log.values(record))
                    except DAMAGE:
                        raise self._log.damaged(record.start) from None
        finally:
            self._log.close()

    def _repeat(self, record: Record, values: dict[str, Any]) -> Replayed:
        watched = self._watcher.watched[record.source]
        captured, finished = finite(values["captured"]), finite(values["finished"])
        if record.kind == END:
            result = self._watcher.end(watched)
        else:
            number, dropped = _count(values["number"]), _count(values["dropped"])
            if watched.done or (watched.seen is not None and number <= watched.seen):
                raise ValueError("ticks come in order")
            origin = _count(values["connection"]), _count(values["picture"])
            aspect, turn = finite(values["aspect"]), _turn(values["turn"])
            image = self._pictures[record.source].image(*origin, aspect, turn)
            if sum(one.pixels for one in self._pictures) > 2 * MAX_PIXELS:
                raise VideoError(f"{self._log.path}: its sources are too large together")
            ticks = range(number, number + 1)
            (result,) = self._watcher.see(watched, Waiting(image, ticks, captured, dropped))
        watched.done = record.kind == END
        same = values["digest"] == digest(result) and values["gap"] == result.gap
        return Replayed(dataclasses.replace(result, captured=captured, finished=finished), same)


class _Pictures:
    """Decodes the packets of one source up to the picture that is asked for.

    Attributes:
        pixels: Of the newest picture.
    """

    def __init__(self, log: LogReader, source: int, name: str) -> None:
        self._log, self._name = log, name
        self._records = (
            record
            for record in log.records()
            if record.source == source and record.kind in (CONNECTION, PACKET)
        )
        self._next = next(self._records, None)
        self._connection, self._ordinal = -1, -1
        self._decoded: Iterator[VideoFrame] = iter(())
        self._to_rgb = RgbConverter(name, [])
        self._image: NDArray[np.uint8] | None = None
        # Kept as in the run, for what a decoder makes of damage: see `SourceReader`.
        self._picture: VideoFrame | None = None
        self.pixels = 0

    def image(
        self, connection: int, ordinal: int, aspect: float, turn: Orientation
    ) -> NDArray[np.uint8]:
        """A picture, not before those that were asked for.

        Args:
            connection: Its number.
            ordinal: Of the picture in it.
            aspect: Width of a pixel, in heights.
            turn: What makes it upright.

        Returns:
            (height, width, 3) uint8 RGB.
        """
        if self._image is not None and (connection, ordinal) == (self._connection, self._ordinal):
            return self._image
        if (connection, ordinal) <= (self._connection, self._ordinal) or not aspect > 0:
            raise ValueError("pictures come in order")
        while self._connection < connection:
            self._connect()
        while self._ordinal < ordinal:
            self._picture = next(self._decoded, None)
            if self._picture is None:
                raise VideoError(
                    f"{self._log.path}: {self._name}: picture {ordinal} of connection "
                    f"{connection} is not in the log, or cannot be decoded here"
                )
            self._ordinal += 1
        picture = self._picture
        assert picture is not None
        self._image, self.pixels = (
            self._to_rgb(picture, aspect, turn),
            picture.width * picture.height,
        )
        return self._image

    def _connect(self) -> None:
        """Go on to the next connection."""
        while self._next is not None and self._next.kind == PACKET:
            self._next = next(self._records, None)
        if self._next is None:
            raise VideoError(f"{self._log.path}: {self._name}: a connection is not in the log")
        try:
            decoder = _decoder(self._name, self._log.values(self._next))
        except (*DAMAGE, FFmpegError):
            raise self._log.damaged(self._next.start) from None
        self._next = next(self._records, None)
        self._connection, self._ordinal = self._connection + 1, -1

        def decode(packet: Packet) -> Iterable[object]:
            return decoder.decode(packet if packet.size else None)

        self._decoded = decoded(self._name, self._packets(), decode)

    def _packets(self) -> Iterator[Packet]:
        """The packets of this connection."""
        while self._next is not None and self._next.kind == PACKET:
            packet = self._log.packet(self._next)
            self._next = next(self._records, None)
            yield packet


def _decoder(name: str, values: Mapping[str, Any]) -> VideoCodecContext:
    """A decoder as the connection had it; any of `DAMAGE` if it is none."""
    if values["decoder"] not in DECODERS:
        raise ValueError("no decoder of streams")
    context = CodecContext.create(values["decoder"], "r")
    assert isinstance(context, VideoCodecContext)
    check_size(name, _count(values["width"]), _count(values["height"]))
    for setting in SETTINGS:
        setattr(context, setting, _count(values[setting], 1 << 20))
    if values["decoder"] == "rawvideo":
        context.pix_fmt, context.codec_tag = values["pixels"], values["tag"]
    context.extradata = bytes.fromhex(values["extradata"]) or None
    context.options = {"has_b_frames": str(_count(values["reorder"], 64))}
    context.thread_type = "SLICE"
    return context


def _names(found: Any) -> list[str]:
    """The names of the sources."""
    names = [source["name"] for source in found]
    if not 0 < len(names) <= _MOST_SOURCES or not all(is_name(name) for name in names):
        raise ValueError("no names of sources")
    return names


def _options(header: Mapping[str, Any]) -> WatchOptions:
    """How the run watched."""
    half_life, reset_after = (
        math.inf if header[name] is None else finite(header[name])
        for name in ("half_life", "reset_after")
    )
    if not half_life > 0:
        raise ValueError("no half-life")
    return WatchOptions(half_life, _rules(header["rules"]), header["gap"], reset_after)


def _rules(found: Any) -> Rules | None:
    """Rules from `Rules.to_json`."""
    if found is None:
        return None
    tables = {name: found[name] for name in ("classes", "exclusive")}
    default = found["default"]
    return parse_rules(
        {**tables, **({"only_listed": True} if default is None else {"default": default})}
    )


def _turn(values: Any) -> Orientation:
    if len(values) != 3 or not all(type(value) is bool for value in values):
        raise ValueError("no orientation")
    return Orientation(*values)


def _count(value: Any, limit: int = _LIMIT) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError(f"{one_line(repr(value))} is no number of anything")
    return value
