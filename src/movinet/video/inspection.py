"""What a video file has in it: length, size, rate, frames, and what is damaged."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
from av.error import FFmpegError

from movinet.video.container import Region, SkippedPacket, Source, open_source, reason_of
from movinet.video.decoding import decode, extent
from movinet.video.pixels import upright_size
from movinet.video.reader import Header
from movinet.video.timeline import Rewinder, Shown, shown_times

#: A file that ends this much before its header says is cut off: seconds, and share of its length.
_MISSING_SECONDS, _MISSING_SHARE = 0.25, 0.05


def header_of(path: Path | Region, thread_type: str) -> Header:
    """See `movinet.video.media.Media.header`."""
    source = open_source(path, thread_type)
    seconds, rate = _stated_seconds(source), 1 / source.nominal
    codec = source.stream.codec_context
    size = codec.width, codec.height
    # Which way is up, and with some codecs the shape of a pixel, is known with the first picture.
    with contextlib.closing(decode(source, [])) as frames:
        if (first := next(frames, None)) is not None:
            size = upright_size(first.picture, first.aspect)
    if seconds is None:
        start, last = extent(path)
        seconds = last - start
    return Header(seconds, *size, rate)


def _stated_seconds(source: Source) -> float | None:
    """The length in a header."""
    if not source.tells_length:
        return None
    if source.stream.duration:
        return source.stream.duration * source.tick
    return source.container.duration / av.time_base if source.container.duration else None


def check_file(path: Path | Region, thread_type: str, start: float, end: float) -> tuple[int, str]:
    """See `movinet.video.media.Media.check`."""
    found: list[Shown] = []
    notes: list[SkippedPacket] = []
    last, fault = 0.0, ""
    source = open_source(path, thread_type)
    with source.container:
        stated = (source.container.duration or 0) / av.time_base if source.tells_length else 0.0
        rewinder = Rewinder(source, lambda _jump: None)
        try:
            # All streams: a header states the length of the longest, which may be the sound.
            for packet in source.container.demux():
                if not packet.size or packet.time_base is None:
                    continue
                if packet.stream is source.stream:
                    rewinder.place(packet)
                    if not packet.is_discard:
                        found.append(Shown.of(source, packet))
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None:
                    last = max(last, float((stamp + (packet.duration or 0)) * packet.time_base))
        except FFmpegError as error:
            fault = f"cannot be read to its end ({reason_of(error)})"
        last -= (source.container.start_time or 0) / av.time_base
        times, _ = shown_times(source, found, notes.append)
    count = sum(start - 1e-6 <= time < end - 1e-6 for time in times)
    if not fault and stated - last > max(_MISSING_SECONDS, _MISSING_SHARE * stated):
        fault = f"cut off: it ends at {last:.2f} s of {stated:.2f} s"
    if not fault and notes:
        fault = notes[0].reason
    return count, fault


def decode_part(
    path: Path | Region, thread_type: str, part: tuple[float, float], skipped: list[SkippedPacket]
) -> None:
    """See `movinet.video.media.Media.decode_all`."""
    start, end = part
    with contextlib.closing(decode(open_source(path, thread_type), skipped, start)) as frames:
        for frame in frames:
            if frame.time >= end:
                break
            # Decoders paint over what they cannot read, and report it.
            if frame.picture.is_corrupt and frame.time >= start:
                skipped.append(SkippedPacket(frame.time, "a picture is not whole"))
