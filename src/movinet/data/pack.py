"""Packing a data set into WebDataset shards."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from movinet.data.processes import in_processes
from movinet.data.samples import DataSet, Sample
from movinet.data.sampling import span_of
from movinet.errors import ConfigError, VideoError
from movinet.files import temporary_name
from movinet.video.container import Region
from movinet.video.finding import VIDEO_SUFFIXES
from movinet.video.preprocessing import resize_short_side
from movinet.video.sampling import tolerance
from movinet.video.writer import VideoWriter

Progress = Callable[[int, int], None]
#: What `VideoWriter` takes.
_RATES = (0.01, 1000.0)


class Packed(NamedTuple):
    """What was written.

    Attributes:
        shards: Number of shards.
        samples: Number of samples in them.
        bytes: Size of the shards.
        skipped: Samples that could not be read, (name, reason).
        repeated: Videos that were packed more than once, since several samples are parts of them.
    """

    shards: int
    samples: int
    bytes: int
    skipped: list[tuple[str, str]]
    repeated: int


class Encoding(NamedTuple):
    """How videos are written anew.

    Attributes:
        short_side: Larger pictures get this shorter side, pixels; None leaves them.
        frame_rate: Frames per second; None leaves that of the video.
    """

    short_side: int | None = None
    frame_rate: float | None = None


def pack_data(
    data: DataSet,
    out: Path,
    *,
    shard_bytes: int = 256_000_000,
    encoding: Encoding | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Packed:
    """Write ``OUT/shard-000000.tar ...``, ``labels.txt`` and ``index.json``.

    Files are packed as they are, with their start and end; encoded anew, they hold only the part
    that is the sample. The same data gives the same bytes (encoded anew, with the same encoder on
    as many processors). `out` appears whole or not at all.

    Args:
        data: The data set.
        out: A folder that does not exist.
        shard_bytes: A shard is closed when it has so many.
        encoding: Write videos anew; without it only frames of records are.
        workers: Processes that encode.
        progress: Called with the samples done and all samples.

    Raises:
        ConfigError: If `out` exists.
        VideoError: If not one sample can be read.
        OSError: If something cannot be written.
    """
    if out.exists():
        raise ConfigError(f"{out}: is there already; give a new folder")
    with _new_folder(out) as folder:
        shards, skipped = _Shards(folder, shard_bytes), []
        prepare = partial(_prepare, folder=folder, encoding=encoding)
        jobs = list(enumerate(data.samples))
        with closing(shards), closing(in_processes(prepare, jobs, workers)) as results:
            for (number, sample), result in zip(jobs, results, strict=True):
                if isinstance(result, _Content):
                    shards.add(number, result, _record(sample, data, cut=result.is_new))
                else:
                    reason = result or "its decoder crashed, or ran out of memory"
                    name = sample.media.name
                    skipped.append((name, reason.removeprefix(f"{name}: ")))
                if progress is not None:
                    progress(number + 1, len(data))
        if not shards.samples:
            name, reason = skipped[0]
            raise VideoError(f"{data.name}: no sample can be read; the first, {name}: {reason}")
        labels = "".join(f"{label}\n" for label in data.labels)
        (folder / "labels.txt").write_text(labels, encoding="utf-8")
        index = {"samples": shards.samples, "shards": shards.counts, "labels": list(data.labels)}
        text = json.dumps(index, indent=2, ensure_ascii=False)
        (folder / "index.json").write_text(f"{text}\n", encoding="utf-8")
    copies = Counter(sample.media for sample in data.samples)
    repeated = 0 if encoding else sum(count > 1 for count in copies.values())
    return Packed(len(shards.counts), shards.samples, shards.total, skipped, repeated)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets its name at the end, or is removed on an error."""
    temporary = temporary_name(out, "")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(out)
    except OSError as error:
        raise OSError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Content(NamedTuple):
    """The video of a sample: where its bytes lie, and whether they were made for it."""

    region: Region
    suffix: str
    is_new: bool


def _prepare(job: tuple[int, Sample], *, folder: Path, encoding: Encoding | None) -> _Content | str:
    """Find or make the bytes to pack, or say why they cannot be read."""
    number, sample = job
    media = sample.media
    try:
        region, name = media.video_file, ""
        if encoding is not None or region is None:
            path = folder / f"{number}.mp4"
            _encode(sample, path, encoding or Encoding())
            return _Content(Region(path, 0, path.stat().st_size, ""), ".mp4", True)
        media.header()  # what cannot be opened is not worth its place
        if isinstance(region, Path):
            region, name = Region(region, 0, region.stat().st_size, ""), region.name
        # Readers know videos by their suffix, and what is in them by looking.
        suffix = PurePosixPath(region.member or name).suffix.lower()
        return _Content(region, suffix if suffix in VIDEO_SUFFIXES else ".mp4", False)
    except VideoError as error:
        return str(error)


def _encode(sample: Sample, path: Path, encoding: Encoding) -> None:
    """Write the part of a video that is a sample."""
    start, end = span_of(sample)
    rate = encoding.frame_rate or min(max(sample.media.header().rate, _RATES[0]), _RATES[1])
    times = [start + i / rate for i in range(max(1, round((end - start) * rate)))]
    side = encoding.short_side
    try:
        with VideoWriter(path, rate) as writer:
            for image in sample.media.frames(times, tolerance(rate), []):
                if side is not None and min(image.shape[:2]) > side:
                    image = resize_short_side(image, side)
                writer.write(image)
    except VideoError as error:
        if not str(error).startswith(str(path)):
            raise
        # The writer names its own file: no fault of the sample, but of the disk.
        raise OSError(str(error).removeprefix(f"{path}: ")) from None


class _Shards:
    """Archives, one after another."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._tar: tarfile.TarFile | None = None
        self._name, self._bytes = "", 0
        self.samples = self.total = 0
        self.counts: dict[str, int] = {}

    def add(self, number: int, content: _Content, record: dict[str, object]) -> None:
        """Write the members of a sample."""
        tar = self._shard()
        text = json.dumps(record).encode()  # keys are names of files, which may be no UTF-8
        with content.region.path.open("rb") as file:
            file.seek(content.region.offset)
            self._member(tar, f"{number:08d}{content.suffix}", file, content.region.size)
        self._member(tar, f"{number:08d}.json", io.BytesIO(text), len(text))
        if content.is_new:
            content.region.path.unlink()
        self.samples += 1
        self.counts[self._name] += 1

    def _shard(self) -> tarfile.TarFile:
        if self._tar is None or self._bytes >= self._limit:
            self.close()
            self._name = f"shard-{len(self.counts):06d}.tar"
            self._tar = tarfile.TarFile(self._folder / self._name, "w")
            self._bytes, self.counts[self._name] = 0, 0
        return self._tar

    def _member(self, tar: tarfile.TarFile, name: str, file: BinaryIO, size: int) -> None:
        member = tarfile.TarInfo(name)  # without times and owners: the same data, the same bytes
        member.size = size
        tar.addfile(member, file)
        self._bytes += size
        self.total += size

    def close(self) -> None:
        """Finish the archive that is being written."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None


def _record(sample: Sample, data: DataSet, *, cut: bool) -> dict[str, object]:
    """What goes into a sample's .json."""
    names = [data.labels[c] for c in sample.labels]
    label: dict[str, object] = {"labels": names} if data.multi_label else {"label": names[0]}
    times = {} if cut else {"start": sample.start, "end": sample.end}
    more = {**times, "group": sample.group, "key": sample.key}
    return label | {name: value for name, value in more.items() if value is not None}
