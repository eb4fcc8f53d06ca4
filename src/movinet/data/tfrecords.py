"""TFRecords of SequenceExample with JPEG frames, as the reference reads; without TensorFlow."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from movinet.data.samples import Labelled
from movinet.errors import ConfigError, VideoError
from movinet.video.container import MAX_PIXELS, Region, SkippedPacket
from movinet.video.media import Image
from movinet.weights.wire import FormatError, crc32c, mask, read_fields, read_varint

#: Frames have no times in these files: they are taken as of Kinetics, which the recipes' strides
#: count in.
FRAME_RATE = 25.0
_IMAGES, _LABEL = b"image/encoded", b"clip/label/index"
_LABEL_TEXT = b"clip/label/text"
_HEADER, _FOOTER = 12, 4


@dataclass(frozen=True)
class JpegFrames:
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

    def extent(self) -> tuple[float, float]:
        """See `Media.extent`."""
        return 0.0, len(_images(self.source)) / self.frame_rate

    def frames(
        self, times: Sequence[float], slack: float, skipped: list[SkippedPacket]
    ) -> Iterator[Image]:
        """See `Media.frames`; a picture that cannot be decoded is the one before it."""
        images = _images(self.source)
        if not images:
            raise VideoError(f"{self.name}: has no frames ({_IMAGES.decode()})")
        shown, number = None, -1
        for time in times:
            wanted = int(np.clip((time + slack) * self.frame_rate + 1e-6, 0, len(images) - 1))
            if shown is None or wanted != number:
                picture = self._decode(images[wanted], wanted, skipped)
                shown = shown if picture is None else picture
                number = wanted
            if shown is None:
                raise VideoError(f"{self.name}: frame {wanted} is no readable picture")
            yield shown

    def _decode(self, data: bytes, number: int, skipped: list[SkippedPacket]) -> Image | None:
        from PIL import Image as Pictures
        from PIL import UnidentifiedImageError

        try:
            with Pictures.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise VideoError(f"{self.name}: frame {number} is too large")
                return np.asarray(picture.convert("RGB"))
        except (OSError, UnidentifiedImageError, ValueError) as error:
            skipped.append(SkippedPacket(number / self.frame_rate, str(error)))
            return None


def read_records(paths: Iterable[Path], labels: Sequence[str] | None) -> list[Labelled]:
    """The samples of files of records.

    Args:
        paths: The files.
        labels: Names of the classes, which ``clip/label/index`` counts; without, a record's
            ``clip/label/text`` names its class, or the number does.

    Raises:
        ConfigError: If a record has no label, or one that `labels` does not have.
        VideoError: If a file is damaged.
    """
    found = []
    for path in paths:
        for number, region in enumerate(_records(path)):
            where = f"{path}, record {number}"
            region = region._replace(member=f"record {number}")
            try:
                context, _ = _parse(region)
            except FormatError as error:
                raise VideoError(f"{where}: not a SequenceExample: {error}") from None
            key = f"{path.name}#{number:06d}"
            names = _names(where, context, labels)
            found.append(Labelled(key, JpegFrames(region), names, where))
    return found


def _names(
    where: str, context: dict[bytes, list[bytes | int]], labels: Sequence[str] | None
) -> tuple[str, ...]:
    numbers = [value for value in context.get(_LABEL, []) if isinstance(value, int)]
    texts = [value for value in context.get(_LABEL_TEXT, []) if isinstance(value, bytes)]
    if labels is None and texts:
        return tuple(text.decode("utf-8", "replace") for text in texts)
    if not numbers:
        raise ConfigError(f"{where}: has no label ({_LABEL.decode()}, int64)")
    if labels is None:
        return tuple(map(str, numbers))
    for number in numbers:
        if not 0 <= number < len(labels):
            raise ConfigError(f"{where}: label {number} of {len(labels)} classes")
    return tuple(labels[number] for number in numbers)


def _records(path: Path) -> Iterator[Region]:
    """Where each record's content lies; the checksums of the lengths are checked."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            while offset < size:
                header = file.read(_HEADER)
                if len(header) < _HEADER:
                    raise VideoError(f"{path}: cut off at byte {offset}; copy it again")
                length, checksum = struct.unpack("<QI", header)
                if mask(crc32c(header[:8])) != checksum:
                    raise VideoError(f"{path}: not a TFRecord, or damaged at byte {offset}")
                begin = offset + _HEADER
                offset = begin + length + _FOOTER
                if offset > size:
                    raise VideoError(
                        f"{path}: cut off in the record at byte {begin}; copy it again"
                    )
                yield Region(path, begin, length, f"byte {begin}")
                file.seek(offset)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror})") from None


@functools.lru_cache(maxsize=2)
def _images(region: Region) -> tuple[bytes, ...]:
    """The pictures of a record; kept, as a clip asks for its extent and then for its frames."""
    try:
        return tuple(v for v in _parse(region)[1].get(_IMAGES, []) if isinstance(v, bytes))
    except FormatError as error:
        raise VideoError(f"{region}: not a SequenceExample: {error}") from None


Features = dict[bytes, list["bytes | int"]]


def _parse(region: Region) -> tuple[Features, Features]:
    """Context and sequences of a SequenceExample, checked against its checksum."""
    whole = region._replace(size=region.size + _FOOTER).read()
    data = whole[: region.size]
    if mask(crc32c(data)) != struct.unpack("<I", whole[region.size :])[0]:
        raise FormatError("its checksum is wrong")
    context: Features = {}
    sequences: Features = {}
    for number, value in read_fields(data):
        if number == 1 and isinstance(value, bytes):  # Features: a map of Feature
            for key, feature in _entries(value):
                context[key] = list(_values(feature))
        elif number == 2 and isinstance(value, bytes):  # FeatureLists: a map of FeatureList
            for key, features in _entries(value):
                lists = [v for n, v in read_fields(features) if n == 1 and isinstance(v, bytes)]
                sequences[key] = [item for feature in lists for item in _values(feature)]
    return context, sequences


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a map field."""
    for number, entry in read_fields(data):
        if number == 1 and isinstance(entry, bytes):
            pair = dict(read_fields(entry))
            key, value = pair.get(1, b""), pair.get(2, b"")
            if isinstance(key, bytes) and isinstance(value, bytes):
                yield key, value


def _values(feature: bytes) -> Iterator[bytes | int]:
    """What a Feature lists: bytes (field 1) or integers (3, packed or not)."""
    for kind, content in read_fields(feature):
        if not isinstance(content, bytes) or kind not in (1, 3):
            continue
        for number, value in read_fields(content):
            if number != 1:
                continue
            if kind == 1 or isinstance(value, int):
                yield value
            else:
                position = 0
                while position < len(value):
                    whole, position = read_varint(value, position)
                    yield whole - (1 << 64) if whole >> 63 else whole
