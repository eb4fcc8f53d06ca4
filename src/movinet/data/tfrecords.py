"""TFRecords of SequenceExample with JPEG frames, as the reference reads; without TensorFlow."""

from __future__ import annotations

import functools
import io
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from movinet.checkpoints.wire import FormatError, content, crc32c, mask, read_fields, read_varint
from movinet.data.packed import by_name, names_beside, with_keys
from movinet.data.samples import Labelled
from movinet.errors import ConfigError, MissingExtraError, VideoError
from movinet.text import one_line
from movinet.video.container import Region, SkippedPacket, check_size
from movinet.video.pixels import Image
from movinet.video.sequence import FrameSequence

#: Where a record does not say it, frames are taken as of Kinetics, which the recipes' strides
#: count in: frames per second.
FRAME_RATE = 25.0
#: Keys of the reference; MediaSequence's, another writer of such files, for the rate.
_IMAGES, _LABEL, _LABEL_TEXT = b"image/encoded", b"clip/label/index", b"clip/label/text"
_RATE = b"image/frame_rate"
#: Rates that a record may state: a picture that lasted for years would be sampled as long.
_RATES = 0.1, 1000
_HEADER, _FOOTER = 12, 4
_MAX_CONTEXT = 1 << 20
#: A tag and a size, both varints.
_MAX_FIELD_HEAD = 20
#: A Feature's values.
_Values = list["bytes | int | float"]


@dataclass(frozen=True)
class JpegFrames(FrameSequence):
    """The frames of a record.

    Attributes:
        source: Where the record lies.
        frame_rate: Frames per second.
    """

    source: Region
    frame_rate: float = FRAME_RATE

    @property
    def name(self) -> str:
        """The file and the record's number."""
        return str(self.source)

    def files(self) -> tuple[Path | Region, ...]:
        """See `Media.files`."""
        return (self.source,)

    def places(self) -> NDArray[np.int64]:
        """See `FrameSequence.places`."""
        return np.arange(len(_images(self.source)), dtype=np.int64)

    def told_end(self) -> float:
        """See `Media.told_end`: a record has no header."""
        return 0.0

    def picture(self, index: int, skipped: list[SkippedPacket]) -> Image | None:
        """See `FrameSequence.picture`."""
        return self._decode(_images(self.source)[index], index, skipped)

    def _decode(self, data: bytes, number: int, skipped: list[SkippedPacket]) -> Image | None:
        try:
            from PIL import Image as Pictures
        except ImportError:
            raise MissingExtraError("reading TFRecords", "train") from None
        try:
            with warnings.catch_warnings():
                # Of sizes that are refused right here.
                warnings.simplefilter("ignore", Pictures.DecompressionBombWarning)
                with Pictures.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
                    check_size(self.source, picture.width, picture.height)
                    return np.asarray(picture.convert("RGB"))
        except Pictures.DecompressionBombError as error:
            raise VideoError(f"{self.name}: frame {number} is too large ({error})") from None
        except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: a broken PNG
            skipped.append(SkippedPacket(number / self.frame_rate, str(error)))
            return None


def read_records(paths: Iterable[Path]) -> list[Labelled]:
    """The samples of files of records: the context of each is read, its pictures are not.

    Args:
        paths: The files.

    Returns:
        With the names of their classes if the records have ``clip/label/text``, else with the
        numbers of ``clip/label/index``, which a labels.txt beside the files counts.

    Raises:
        ConfigError: If a record has no label.
        VideoError: If a file is damaged.
    """
    found = []
    for path, prefix in with_keys(paths):
        names = names_beside(path)
        for number, (region, context) in enumerate(_records(path)):
            region = region._replace(member=f"record {number}")
            where = f"{path}, record {number}"
            media = JpegFrames(region, _frame_rate(where, context))
            labels = tuple(by_name(where, label, names) for label in _labels(where, context))
            found.append(Labelled(f"{prefix}/{number:06d}", media, labels, where))
    return found


def _labels(where: str, context: dict[bytes, _Values]) -> tuple[str | int, ...]:
    texts = [value for value in context.get(_LABEL_TEXT, []) if isinstance(value, bytes)]
    if texts:
        return tuple(text.decode("utf-8", "replace").strip() for text in texts)
    numbers = tuple(value for value in context.get(_LABEL, []) if isinstance(value, int))
    if not numbers and _LABEL not in context:
        raise ConfigError(f"{where}: has no label ({_LABEL.decode()}, int64, in its context)")
    return numbers


def _frame_rate(where: str, context: dict[bytes, _Values]) -> float:
    rate = next(iter(context.get(_RATE, [])), FRAME_RATE)
    if not isinstance(rate, float) or not _RATES[0] <= rate <= _RATES[1]:
        raise ConfigError(
            f"{where}: {_RATE.decode()} must be frames per second, {_RATES[0]} to {_RATES[1]}, not "
            f"{one_line(repr(rate))}"
        )
    return rate


def _records(path: Path) -> Iterator[tuple[Region, dict[bytes, _Values]]]:
    """Where each record's content lies, and its context; checksums of the lengths are checked."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            while offset < size:
                file.seek(offset)
                header = file.read(_HEADER)
                if len(header) < _HEADER:
                    raise VideoError(f"{path}: cut off at byte {offset}; copy it again")
                length, checksum = struct.unpack("<QI", header)
                if mask(crc32c(header[:8])) != checksum:
                    raise VideoError(
                        f"{path}: not a TFRecord file, or damaged at byte {offset}; TFRecords are "
                        "read without compression"
                    )
                region = Region(path, offset + _HEADER, length, f"byte {offset}")
                offset += _HEADER + length + _FOOTER
                if offset > size:
                    raise VideoError(f"{path}: cut off in the record at {region.member}")
                yield region, _context(file, region)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror})") from None


def _context(file: BinaryIO, region: Region) -> dict[bytes, _Values]:
    """The context of a record; its sequences, which hold the pictures, are passed over."""
    context: dict[bytes, _Values] = {}
    position, kinds = 0, set()
    try:
        while position < region.size:
            file.seek(region.offset + position)
            head = file.read(min(_MAX_FIELD_HEAD, region.size - position))
            tag, at = read_varint(head, 0)
            size, at = read_varint(head, at)
            position += at + size
            if tag & 7 != 2 or position > region.size:
                raise FormatError("its fields are no messages")
            kinds.add(tag >> 3)
            if tag >> 3 == 1:
                if size > _MAX_CONTEXT:
                    raise FormatError(f"its context has {size} bytes, at most {_MAX_CONTEXT}")
                file.seek(region.offset + position - size)
                context |= {key: list(_values(v)) for key, v in _entries(file.read(size))}
        if 2 not in kinds:
            raise FormatError("it has no sequences")
    except FormatError as error:
        raise VideoError(
            f"{region}: not a SequenceExample, or damaged: {error}; frames are read from the "
            f"sequence {_IMAGES.decode()}"
        ) from None
    return context


@functools.lru_cache(maxsize=2)
def _images(region: Region) -> tuple[bytes, ...]:
    """The pictures of a record; kept, as a clip asks for its extent and then for its frames."""
    whole = region._replace(size=region.size + _FOOTER).read()
    data = whole[: region.size]
    if mask(crc32c(data)) != struct.unpack("<I", whole[region.size :])[0]:
        raise VideoError(f"{region}: damaged (its checksum is wrong); copy the file again")
    images: list[bytes] = []
    try:
        lists = [content(value) for number, value in read_fields(data) if number == 2]
        for key, features in (entry for each in lists for entry in _entries(each)):
            if key == _IMAGES:
                values = [_values(content(f)) for number, f in read_fields(features) if number == 1]
                images = [v for feature in values for v in feature if isinstance(v, bytes)]
    except FormatError as error:
        raise VideoError(f"{region}: not a SequenceExample: {error}") from None
    if not images:
        raise VideoError(f"{region}: has no frames ({_IMAGES.decode()})")
    return tuple(images)


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a map of messages, the only field of Features and FeatureLists."""
    for number, entry in read_fields(data):
        if number == 1:
            pair = dict(read_fields(content(entry)))
            yield content(pair.get(1, b"")), content(pair.get(2, b""))


def _values(feature: bytes) -> Iterator[bytes | int | float]:
    """What a Feature lists: bytes (its field 1), floats (2) or integers (3), packed or not."""
    for kind, values in read_fields(feature):
        for number, value in read_fields(content(values)):
            if number != 1:
                continue
            if kind == 1:
                yield content(value)
            elif kind == 2:
                if isinstance(value, int) and value >> 32:
                    raise FormatError("a float has more than 32 bits")
                raw = value.to_bytes(4, "little") if isinstance(value, int) else value
                yield from (v for (v,) in struct.iter_unpack("<f", raw[: len(raw) // 4 * 4]))
            elif kind == 3:
                yield from map(_signed, [value] if isinstance(value, int) else _varints(value))


def _varints(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = read_varint(data, position)
        yield value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
