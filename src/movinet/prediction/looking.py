"""What a model makes of a video: at every frame, of windows averaged, or of a sliding one.

Each of `streamed`, `averaged` and `slid` yields (time in seconds, probabilities) for the members of
an ensemble, or for a single model.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from movinet.errors import ConfigError, MovinetError
from movinet.runtime.base import Runtime
from movinet.runtime.numbers import to_logits, to_probabilities

if TYPE_CHECKING:
    from movinet.network.config import InputSpec
    from movinet.runtime.base import ModelInfo, Stream
    from movinet.video import Frame, SkippedPacket
    from movinet.video.inputs import VideoInput

#: Told of each part of a file that cannot be decoded, or is doubtful.
OnSkipped = Callable[["SkippedPacket"], None]
#: The most that the frames of one window may take in all crops as float32, which networks see.
MAX_WINDOW_BYTES = 2**30


def window_spec(spec: InputSpec, window: float | None, crops: int) -> InputSpec:
    """The input of a window that lasts so many seconds.

    Raises:
        ConfigError: If its frames would take too much memory.
    """
    if window is not None:
        spec = dataclasses.replace(spec, num_frames=max(1, round(window * spec.frame_rate)))
    of_frame = crops * spec.image_size**2 * 3 * np.dtype(np.float32).itemsize
    if spec.num_frames * of_frame > MAX_WINDOW_BYTES:
        most = MAX_WINDOW_BYTES // of_frame
        raise ConfigError(
            f"a window of {spec.num_frames} frames of {spec.image_size}x{spec.image_size} pixels, "
            f"{crops} crop{'s' if crops > 1 else ''}, is more than {MAX_WINDOW_BYTES // 2**20} MiB "
            f"hold: at most {most} frames, window={math.floor(most / spec.frame_rate)} seconds"
        )
    return spec


def _frames(
    video: VideoInput, frame_rate: float, time_offset: float, on_skipped: OnSkipped
) -> Iterator[Frame]:
    """The video at a frame rate; what is skipped is told as soon as it is known."""
    told = count = 0
    with video.frames(frame_rate, time_offset) as (frames, skipped):
        for frame in frames:
            for packet in skipped[told:]:
                on_skipped(packet)
            told, count = len(skipped), count + 1
            yield frame
        for packet in skipped[told:]:
            on_skipped(packet)
    if not count:
        raise video.nothing()


def _once(on_skipped: OnSkipped) -> OnSkipped:
    """Tell of each packet once, however many readers of the same file meet it."""
    known: set[SkippedPacket] = set()

    def tell(packet: SkippedPacket) -> None:
        if packet not in known:
            known.add(packet)
            on_skipped(packet)

    return tell


def streamed(
    members: Sequence[Runtime],
    streams: Sequence[Stream],
    video: VideoInput,
    on_skipped: OnSkipped,
) -> Iterator[tuple[float, np.ndarray]]:
    """Probabilities at every frame of any member, once each of them has seen one."""
    tell = _once(on_skipped)
    multi_label = members[0].info.multi_label
    outputs = [
        _stream_member(video, i, member.info, stream, tell)
        for i, (member, stream) in enumerate(zip(members, streams, strict=True))
    ]
    if len(outputs) == 1:
        for time, _, probabilities in outputs[0]:
            yield time, probabilities
        return
    latest: dict[int, np.ndarray] = {}
    in_time = heapq.merge(*outputs, key=lambda output: output.time)
    for time, together in itertools.groupby(in_time, key=lambda output: round(output.time, 6)):
        latest |= {output.member: output.probabilities for output in together}
        if len(latest) == len(outputs):
            logits = to_logits(np.stack([*latest.values()]), multi_label=multi_label)
            yield time, to_probabilities(logits.mean(axis=0), multi_label=multi_label)


class _Output(NamedTuple):
    """What member number `member` says after its frame at `time` seconds."""

    time: float
    member: int
    probabilities: np.ndarray


def _stream_member(
    video: VideoInput, number: int, info: ModelInfo, stream: Stream, on_skipped: OnSkipped
) -> Iterator[_Output]:
    for frame in _frames(video, info.input.frame_rate, info.time_offset, on_skipped):
        try:
            probabilities = stream(frame.image)
        except MovinetError as error:
            raise MovinetError(f"{video.path} at {frame.time:.2f} s: {error}") from error
        yield _Output(frame.time, number, probabilities)


def averaged(
    members: Sequence[Runtime],
    specs: Sequence[InputSpec],
    counts: tuple[int, int],
    video: VideoInput,
    on_skipped: OnSkipped,
) -> Iterator[tuple[float, np.ndarray]]:
    """One output for the video: logits averaged over members, probabilities over views.

    `counts` are the numbers of windows, and of crops of each.
    """
    tell, logits, time = _once(on_skipped), [], 0.0
    for member, spec in zip(members, specs, strict=True):
        of_member = []
        for frames, last, skipped in _views(video, spec, counts, member.info.time_offset):
            of_member.append(member.clip_logits(frames))
            time = max(time, last)
            for packet in skipped:
                tell(packet)
        logits.append(of_member)
    mean = np.array(logits, np.float64).mean(axis=0)
    multi_label = members[0].info.multi_label
    yield time, to_probabilities(mean, multi_label=multi_label).mean(axis=0)


def _views(
    video: VideoInput, spec: InputSpec, counts: tuple[int, int], time_offset: float
) -> Iterator[tuple[np.ndarray, float, Sequence[SkippedPacket]]]:
    """Pixels, time of the last one, and skipped packets of each view of a video.

    A member that is late by a fraction of its frame distance takes every n-th frame of the same
    windows at n times its rate.
    """
    from movinet.video.clips import read_pixels, window_starts, wrapped_times
    from movinet.video.preprocessing import THREE_CROPS

    late = Fraction(time_offset * spec.frame_rate).limit_denominator(16)
    n, first = late.denominator, late.numerator
    dense = dataclasses.replace(
        spec, frame_rate=spec.frame_rate * n, num_frames=spec.num_frames * n
    )
    span = video.span()
    crops = THREE_CROPS if counts[1] == 3 else ("center",)
    for start in window_starts(span, dense.num_frames / dense.frame_rate, counts[0]).tolist():
        times = wrapped_times(span, start, dense.num_frames, dense.frame_rate)
        skipped: list[SkippedPacket] = []
        for pixels in read_pixels(video.media, dense, times, crops, skipped):
            yield pixels[first::n], float(times[first::n].max()), skipped


def slid(
    members: Sequence[Runtime],
    specs: Sequence[InputSpec],
    stride: float,
    video: VideoInput,
    on_skipped: OnSkipped,
) -> Iterator[tuple[float, np.ndarray]]:
    """One output for each window, logits averaged over members."""
    tell = _once(on_skipped)
    outputs = [
        _slide_member(video, member, spec, stride, tell)
        for member, spec in zip(members, specs, strict=True)
    ]
    # Where rates differ, the ends of the video may hold one window more for a member.
    for together in zip(*outputs, strict=False):
        logits = np.array([logits for _, logits in together], np.float64)
        probabilities = to_probabilities(
            logits.mean(axis=0), multi_label=members[0].info.multi_label
        )
        yield max(time for time, _ in together), probabilities


def _slide_member(
    video: VideoInput, member: Runtime, spec: InputSpec, stride: float, on_skipped: OnSkipped
) -> Iterator[tuple[float, np.ndarray]]:
    """Time of the last frame and logits of each window."""
    from movinet.video.preprocessing import crop_pixels

    step = max(1.0, stride * spec.frame_rate)  # frames
    held: deque[np.ndarray] = deque(maxlen=spec.num_frames)
    count, windows, end, time = 0, 0, 0, 0.0
    for frame in _frames(video, spec.frame_rate, member.info.time_offset, on_skipped):
        held.append(crop_pixels(frame.image, spec))
        count, time = count + 1, frame.time
        if count == round(windows * step) + spec.num_frames:
            windows, end = windows + 1, count
            yield time, member.clip_logits(np.stack(held))
    if end < count:  # what the last whole window left over, or all of a short video, repeated
        frames = [held[i % len(held)] for i in range(spec.num_frames)]
        yield time, member.clip_logits(np.stack(frames))
