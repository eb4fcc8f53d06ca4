"""Videos of plain colours as a data set for `fakes.ColourRuntime`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fakes import COLOURS, write_video
from movinet.data.samples import DataSet, Sample
from movinet.video import VideoFile

Colour = tuple[int, int, int]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def make_data(
    folder: Path,
    videos: dict[str, tuple[tuple[int, ...], Sequence[Colour] | None]],
    *,
    multi_label: bool = False,
) -> DataSet:
    """A data set of videos: name -> classes and colours at 10 frames a second, None: no video."""
    samples = []
    for name, (classes, colours) in videos.items():
        path = folder / f"{name}.mkv"
        if colours is None:
            path.write_bytes(b"no video")
        else:
            write_video(path, colours)
        samples.append(Sample(name, VideoFile(path, "NONE"), classes))
    return DataSet("colours", tuple(samples), COLOURS, multi_label)
