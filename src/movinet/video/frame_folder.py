"""A folder of numbered pictures as a video."""

from __future__ import annotations

import functools
import itertools
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError, VideoError
from movinet.text import one_line
from movinet.video.container import Region, SkippedPacket
from movinet.video.finding import PICTURE_KINDS, natural_order
from movinet.video.pictures import PictureError, codec_of, decode_picture
from movinet.video.pixels import Image, RgbConverter, upright_size
from movinet.video.reader import VideoInfo
from movinet.video.sequence import FrameSequence

#: Frames per second that a folder may have.
RATES = (0.001, 1000.0)
#: The most pictures in a folder, and bytes in one of them.
MAX_PICTURES, MAX_BYTES = 5_000_000, 2**28


class _Listing(NamedTuple):
    """The pictures of a folder in order.

    Attributes:
        names: File names.
        places: When each appears, counted in frames from 0; increasing.
        doubt: What is doubtful about `places`; empty if nothing is.
    """

    names: tuple[str, ...]
    places: NDArray[np.int64]
    doubt: str = ""


@dataclass(frozen=True)
class FrameFolder(FrameSequence):
    """Numbered JPEG or PNG files in a folder, which are the frames of one video.

    Names differ in one number, such as ``frame_00001.jpg``, in natural order (2 before 10); where
    the numbering begins does not matter. The first picture appears at 0 seconds. Where numbers are
    missing, the picture before them stays, and a note says so.

    Attributes:
        folder: The folder.
        frame_rate: Frames per second.

    Raises:
        ConfigError: If the frame rate is not a number from 0.001 to 1000.
    """

    folder: Path
    frame_rate: float

    def __post_init__(self) -> None:
        check_frame_rate(self.frame_rate)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def path(self) -> Path:
        """See `Media.path`."""
        return self.folder

    @property
    def given_rate(self) -> float:
        """See `Media.given_rate`."""
        return self.frame_rate

    def files(self) -> tuple[Path | Region, ...]:
        """See `Media.files`."""
        return tuple(self.folder / name for name in _listing(self.folder).names)

    def places(self) -> NDArray[np.int64]:
        """See `FrameSequence.places`."""
        return _listing(self.folder).places

    def notes(self) -> list[SkippedPacket]:
        """See `FrameSequence.notes`."""
        doubt = _listing(self.folder).doubt
        return [SkippedPacket(None, doubt, note=True)] if doubt else []

    def picture(self, index: int, skipped: list[SkippedPacket]) -> Image | None:
        """See `FrameSequence.picture`."""
        name = _listing(self.folder).names[index]
        file = self.folder / name
        try:
            picture, aspect = decode_picture(str(file), _bytes(file))
            return RgbConverter(str(file), skipped)(picture, aspect)
        except PictureError as error:
            time = float(self.times()[index])
            skipped.append(SkippedPacket(time, f"{one_line(name)}: {error}"))
            return None

    def info(self) -> VideoInfo:
        """See `Media.info`: that of the first picture that can be decoded."""
        reason = ""
        for name in _listing(self.folder).names:
            file = self.folder / name
            try:
                data = _bytes(file)
                picture, aspect = decode_picture(str(file), data)
            except PictureError as error:
                reason = reason or f"{one_line(name)}: {error}"
                continue
            width, height = upright_size(picture, aspect)
            return VideoInfo(
                width=width,
                height=height,
                frame_rate=self.frame_rate,
                duration=self.extent()[1],
                rotation=-picture.rotation % 360,
                codec=codec_of(data) or "",
                pixel_format=picture.format.name,
            )
        raise VideoError(f"{self.folder}: not one picture can be decoded ({reason})")


def check_frame_rate(frame_rate: object, name: str = "frame_rate") -> float:
    """The frame rate of a folder of pictures.

    Raises:
        ConfigError: If it is not a number that is allowed.
    """
    good = isinstance(frame_rate, int | float | np.integer | np.floating)
    if not good or isinstance(frame_rate, bool) or not RATES[0] <= float(frame_rate) <= RATES[1]:
        raise ConfigError(
            f"{name} must be frames per second, {RATES[0]:g} to {RATES[1]:g}, not {frame_rate!r}"
        )
    return float(frame_rate)


def _listing(folder: Path) -> _Listing:
    try:
        changed = folder.stat().st_mtime_ns
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror})") from None
    return _list(folder, changed)


@functools.lru_cache(maxsize=256)
def _list(folder: Path, _changed: int) -> _Listing:
    """The pictures; kept until the folder changes, since every clip asks."""
    found: dict[str, list[str]] = {kind: [] for kind in PICTURE_KINDS.values()}
    count = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                kind = PICTURE_KINDS.get(Path(entry.name).suffix.lower())
                if kind is None or entry.name.startswith(".") or not entry.is_file():
                    continue
                count += 1
                if count > MAX_PICTURES:
                    raise VideoError(f"{folder}: more than {MAX_PICTURES} pictures")
                found[kind].append(entry.name)
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror})") from None
    kinds = {kind: names for kind, names in found.items() if names}
    if not kinds:
        raise VideoError(f"{folder}: no JPEG or PNG picture in this folder")
    if len(kinds) > 1:
        counts = " and ".join(f"{len(names)} {kind}" for kind, names in kinds.items())
        raise VideoError(
            f"{folder}: has {counts} pictures; the frames of a video are of one kind: move the "
            "others to another folder"
        )
    (names,) = kinds.values()
    return _ordered(folder, sorted(names, key=natural_order))


def _ordered(folder: Path, names: list[str]) -> _Listing:
    """When each picture appears by the numbers in the names, which are in natural order."""
    parts = [re.split(r"(\d+)", Path(name).stem) for name in names]
    texts = Counter(tuple(part[::2]) for part in parts)
    if len(texts) > 1:
        one, other = (_shown(texts, parts, names, rank) for rank in (0, 1))
        raise VideoError(
            f"{folder}: more than one sequence of pictures, such as {one} and {other}; a folder "
            "has the frames of one video, with names that differ in a number only"
        )
    columns = list(zip(*(part[1::2] for part in parts), strict=True))
    changing = [[int(n) for n in column] for column in columns if len({*map(int, column)}) > 1]
    by_order = np.arange(len(names), dtype=np.int64)
    if len(names) == 1:
        return _Listing(tuple(names), by_order)
    if not columns:  # the same text and no number: names that differ in their suffix only
        raise VideoError(f"{folder}: pictures without numbers in their names, such as {names[0]}")
    numbers = list(zip(*changing, strict=True))
    if len(set(numbers)) < len(names):
        twice = next(n for n, count in Counter(numbers).items() if count > 1) if numbers else ()
        same = [name for name, number in zip(names, numbers, strict=False) if number == twice]
        raise VideoError(
            f"{folder}: {one_line((same or names)[0])} and {one_line((same or names)[1])} have the "
            "same number; remove one of them"
        )
    if len(changing) > 1:
        doubt = (
            f"{len(changing)} numbers change in the names: pictures follow one another in natural "
            f"order, {one_line(names[0])} the first, {one_line(names[-1])} the last"
        )
        return _Listing(tuple(names), by_order, doubt)
    return _by_number(names, changing[0])


def _by_number(names: list[str], numbers: list[int]) -> _Listing:
    """The same of names with one number: where some are missing, time passes."""
    by_order = np.arange(len(names), dtype=np.int64)
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    step = min(steps)
    if all(each == step for each in steps):
        return _Listing(tuple(names), by_order)
    missing = sum(each // step - 1 for each in steps)
    at = next(i for i, each in enumerate(steps) if each != step)
    where = f"after {one_line(names[at])}"
    if any(each % step for each in steps) or missing > len(names):
        doubt = (
            f"numbers are not evenly spaced, {where} the first time: pictures follow one another "
            "at the frame rate"
        )
        return _Listing(tuple(names), by_order, doubt)
    places = np.array([(number - numbers[0]) // step for number in numbers], np.int64)
    doubt = (
        f"{missing} number{'s are' if missing > 1 else ' is'} missing, {where} the first: the "
        "picture before stays"
    )
    return _Listing(tuple(names), places, doubt)


def _shown(
    texts: Counter[tuple[str, ...]], parts: list[list[str]], names: list[str], rank: int
) -> str:
    """A name of the sequence that is the most frequent but `rank`."""
    text = texts.most_common()[rank][0]
    found = next(n for n, part in zip(names, parts, strict=True) if tuple(part[::2]) == text)
    return one_line(found)


def _bytes(file: Path) -> bytes:
    """The content of a regular file that is not too large."""
    try:
        # A pipe that has taken the place of a picture would make this wait for ever.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(file, os.O_RDONLY | flags)
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PictureError("not a regular file")
            if status.st_size > MAX_BYTES:
                raise PictureError(f"larger than {MAX_BYTES // 2**20} MiB")
            return opened.read(MAX_BYTES)
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror})") from None
