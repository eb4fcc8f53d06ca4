"""Writing small videos: H.264 in MP4, or GIF."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

from movinet.errors import ConfigError, VideoError
from movinet.files import temporary_name
from movinet.video.container import check_size, reason_of
from movinet.video.sound import Sound


class VideoWriter:
    """Writes RGB frames to a ``.mp4`` (H.264, yuv420p, BT.709) or a ``.gif``.

    The file appears at the end, all at once: frames go to a temporary file beside it, which is
    deleted if anything fails. An existing file is replaced.

    ```python
    with VideoWriter("out.mp4", frame_rate=25) as writer:
        writer.write(image)
    ```

    Args:
        path: Where to write; the suffix decides the format.
        frame_rate: Frames per second. A GIF knows hundredths of a second only: its times are
            rounded to them.
        crf: H.264's constant rate factor, from 0 (lossless) to 51; lower is better and larger.
        sound: What is heard, copied into an ``.mp4``.
        begin: Seconds in the sound's video at which the first frame is shown.

    Raises:
        ConfigError: If the suffix or the rate is not allowed.
        VideoError: If the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        frame_rate: float,
        crf: int = 18,
        sound: Sound | None = None,
        begin: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self._suffix = self.path.suffix.lower()
        if self._suffix not in (".mp4", ".gif"):
            raise ConfigError(f"{self.path}: can write .mp4 or .gif, not {self._suffix!r}")
        fastest = 50 if self._suffix == ".gif" else 1000  # players slow down faster GIFs
        if not 0.01 <= frame_rate <= fastest:
            raise ConfigError(
                f"frame_rate of a {self._suffix} must be between 0.01 and {fastest}, "
                f"not {frame_rate}"
            )
        if self.path.is_dir():
            raise VideoError(f"{self.path}: cannot be written (is a directory)")
        self._crf, self._begin = crf, begin
        self._sound = sound if self._suffix == ".mp4" else None
        self._rate = Fraction(frame_rate).limit_denominator(1001)
        self._temporary = temporary_name(self.path, self._suffix)
        self._shape: tuple[int, ...] | None = None
        self._count = 0
        self._graph: Graph | None = None
        options = {"movflags": "+faststart"} if self._suffix == ".mp4" else {}
        try:
            self._temporary.touch(exist_ok=False)
            name = f"file:{self._temporary.absolute()}"
            self._container: OutputContainer | None = av.open(name, "w", options=options)
        except (OSError, FFmpegError) as error:
            self._discard()
            raise VideoError(f"{self.path}: cannot be written ({error.strerror})") from None

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame.

        Args:
            image: (height, width, 3) uint8 RGB, of the same size every time. In an ``.mp4`` an odd
                side grows by one pixel, a copy of its last row or column.

        Raises:
            ConfigError: If `image` is not such an array.
            VideoError: If writing fails, or the writer is closed.
        """
        if self._container is None:
            raise VideoError(f"{self.path}: the writer is closed")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ConfigError(
                f"a frame must be (height, width, 3) uint8, not {image.shape} {image.dtype}"
            )
        if self._shape not in (None, image.shape):
            raise ConfigError(
                f"all frames must have the size of the first, {self._shape}, not {image.shape}"
            )
        try:
            if self._shape is None:
                self._start(image)
            for frame in self._encodable(image):
                frame.pts, frame.time_base = self._timestamp(), self._time_base
                self._container.mux(self._stream.encode(frame))
                self._count += 1
            if self._sound is not None:
                self._sound.write_until(self._container, float(self._count / self._rate))
        except FFmpegError as error:
            self._discard()
            raise VideoError(f"{self.path}: cannot be written ({reason_of(error)})") from None
        except BaseException:
            self._discard()
            raise

    def close(self) -> None:
        """Finish the file and put it in its place; without frames there is none.

        Raises:
            VideoError: If writing fails, or nothing was written.
        """
        if self._container is None:
            return
        if not self._count:
            self._discard()
            raise VideoError(f"{self.path}: no frame was written")
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            self._temporary.replace(self.path)
        except (OSError, FFmpegError) as error:
            self._discard()
            raise VideoError(f"{self.path}: cannot be written ({error.strerror})") from None
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _discard(self) -> None:
        container = getattr(self, "_container", None)
        self._container = None
        if container is not None:
            with contextlib.suppress(OSError, FFmpegError):  # the file is deleted anyway
                container.close()
        self._temporary.unlink(missing_ok=True)

    def _start(self, image: NDArray[np.uint8]) -> None:
        """Add the stream, now that the size is known."""
        assert self._container is not None
        height, width = image.shape[:2]
        check_size(self.path, width, height)
        if self._suffix == ".gif":
            self._time_base = Fraction(1, 100)
            stream = self._container.add_stream("gif", rate=100)
            stream.pix_fmt = "pal8"
            self._graph = _palette_graph(width, height)
        else:
            self._time_base = 1 / self._rate
            stream = self._container.add_stream("libx264", rate=self._rate)
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": str(self._crf), "preset": "medium"}
            width, height = width + width % 2, height + height % 2
            context = stream.codec_context
            context.colorspace = Colorspace.ITU709
            context.color_range = ColorRange.MPEG
            context.color_primaries = ColorPrimaries.BT709
            context.color_trc = ColorTrc.BT709
        if self._sound is not None:
            self._sound.add_to(self._container, self._begin)
        stream.width, stream.height = width, height
        stream.time_base = self._time_base
        self._stream: VideoStream = stream
        self._shape = image.shape

    def _timestamp(self) -> int:
        if self._suffix == ".gif":
            return round(self._count * 100 / self._rate)
        return self._count

    def _encodable(self, image: NDArray[np.uint8]) -> Iterator[VideoFrame]:
        """The frame in the encoder's pixel format."""
        if self._graph is not None:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self._count, Fraction(1, 100)
            self._graph.push(frame)
            yield self._graph.vpull()
            return
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        yield frame.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )


def _palette_graph(width: int, height: int) -> Graph:
    """A palette of its own for every frame, so that no frame has to be kept.

    Bayer dithering stays put where nothing moves: no flicker, and the file compresses.
    """
    graph = Graph()
    rgb = VideoFormat("rgb24", width, height)
    source = graph.add_buffer(width=width, height=height, format=rgb, time_base=Fraction(1, 100))
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    return graph
