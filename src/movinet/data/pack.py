"""Packing a data set into WebDataset shards."""

from __future__ import annotations

import io
import json
import secrets
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from movinet.data.samples import DataSet, Sample
from movinet.data.sampling import span_of
from movinet.errors import ConfigError, VideoError
from movinet.video.container import Region
from movinet.video.media import VideoFile
from movinet.video.preprocessing import resize_short_side
from movinet.video.writer import VideoWriter

Progress = Callable[[int, int], None]


class Packed(NamedTuple):
    """What was written.

    Attributes:
        shards: Number of shards.
        samples: Number of samples in them.
        skipped: Samples that could not be read, (name, reason).
    """

    shards: int
    samples: int
    skipped: list[tuple[str, str]]


def pack_data(
    data: DataSet,
    out: Path,
    *,
    shard_bytes: int = 256_000_000,
    short_side: int | None = None,
    frame_rate: float | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Write ``OUT/shard-000000.tar ...``, ``labels.txt`` and ``index.json``.

    Files are packed as they are, with their start and end; with a size or a rate they are written
    anew, and then only the part that is the sample. The same data gives the same bytes, but for
    encoding anew. `out` appears whole or not at all.

    Args:
        data: The data set.
        out: A folder that does not exist.
        shard_bytes: A shard is closed when it has so many.
        short_side: Resize the shorter side to this, pixels.
        frame_rate: Frames per second.
        progress: Called with the samples done and all samples.

    Raises:
        ConfigError: If `out` exists.
        VideoError: If not one sample can be read.
        OSError: If something cannot be written.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; give a new folder")
    temporary = out.with_name(f".{secrets.token_hex(8)}")
    temporary.mkdir(parents=True)
    try:
        writer = _Writer(temporary, shard_bytes)
        skipped = []
        for number, sample in enumerate(data.samples):
            try:
                content, suffix = _content(sample, temporary, short_side, frame_rate)
            except VideoError as error:
                skipped.append((sample.media.name, str(error)))
            else:
                is_part = short_side is None and frame_rate is None
                writer.add(number, content, suffix, _record(sample, data, is_part))
            if progress is not None:
                progress(number + 1, len(data))
        writer.close()
        if not writer.samples:
            raise VideoError(f"{data.name}: not one sample can be read; the first: {skipped[0][1]}")
        labels = "".join(f"{label}\n" for label in data.labels)
        (temporary / "labels.txt").write_text(labels, encoding="utf-8")
        index = {"shards": writer.counts, "samples": writer.samples, "labels": list(data.labels)}
        (temporary / "index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Packed(len(writer.counts), writer.samples, skipped)


class _Writer:
    """Shards, one after another."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._limit = folder, shard_bytes
        self._tar: tarfile.TarFile | None = None
        self._bytes = 0
        self.samples = 0
        self.counts: dict[str, int] = {}

    def add(self, number: int, content: bytes, suffix: str, record: dict[str, object]) -> None:
        if self._tar is None or self._bytes >= self._limit:
            self.close()
            self._name = f"shard-{len(self.counts):06d}.tar"
            self._tar = tarfile.TarFile(self._folder / self._name, "w", format=tarfile.USTAR_FORMAT)
            self._bytes, self.counts[self._name] = 0, 0
        text = json.dumps(record, ensure_ascii=False).encode()
        for ending, data in ((suffix, content), (".json", text)):
            member = tarfile.TarInfo(f"{number:08d}{ending}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
            self._bytes += len(data)
        self.samples += 1
        self.counts[self._name] += 1

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()


def _record(sample: Sample, data: DataSet, is_part: bool) -> dict[str, object]:
    """What goes into a sample's .json."""
    names = [data.labels[c] for c in sample.labels]
    label: dict[str, object] = {"labels": names} if data.multi_label else {"label": names[0]}
    times = {"start": sample.start, "end": sample.end} if is_part else {}
    more = {**times, "group": sample.group, "key": sample.key}
    return label | {name: value for name, value in more.items() if value is not None}


def _content(
    sample: Sample, folder: Path, short_side: int | None, frame_rate: float | None
) -> tuple[bytes, str]:
    """The bytes of a sample's video, and their suffix."""
    media = sample.media
    if short_side is None and frame_rate is None and isinstance(media, VideoFile):
        if isinstance(media.source, Region):
            suffix = PurePosixPath(media.source.member).suffix
            return media.source.read(), suffix.lower()
        try:
            return media.source.read_bytes(), media.source.suffix.lower()
        except OSError as error:
            raise VideoError(f"{media.name}: cannot be read ({error.strerror})") from None
    start, end = span_of(sample)
    rate = frame_rate or 25.0
    count = max(1, round((end - start) * rate))
    path = folder / "encoding.mp4"
    with VideoWriter(path, rate) as writer:
        for image in media.frames([start + i / rate for i in range(count)], 1e-3, []):
            writer.write(image if short_side is None else resize_short_side(image, short_side))
    content = path.read_bytes()
    path.unlink()
    return content, ".mp4"
