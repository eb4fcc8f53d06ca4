"""Opening video files: local files and known containers only, one clear line when it fails."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from movinet.errors import VideoError
from movinet.video.finding import local_path

#: Limits on what an untrusted file may make us allocate: pixels a side, and pixels in all (twice
#: the area of an 8K picture).
MAX_SIDE = 16384
MAX_PIXELS = 2**26
#: Bytes of a region that `Region.read` holds in memory at most.
MAX_REGION = 2**30

#: ffmpeg's demuxers that read one file and nothing else. Left out on purpose are those that open
#: what a file names (playlists, concat scripts, image sequences, session descriptions), still
#: pictures, and the one that draws any text file as a film (tty). The few audio containers are here
#: so that an audio file is told apart from a file that is not media at all.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpegtsraw,mpeg,mpegvideo,m4v,mjpeg,mjpeg_2000,h261,h263,h264,hevc,vvc,"
    "av1,obu,evc,cavsvideo,dirac,dnxhd,vc1,vc1test,ivf,flv,live_flv,kux,asf,asf_o,ogg,gif,apng,mxf,"
    "nut,rm,dv,gxf,wtv,nsv,nuv,amv,roq,bink,smk,yuv4mpegpipe,mp3,wav,flac,aac,aiff"
)
#: Formats whose headers say no length: ffmpeg guesses one from the bit rate, or from the clock at
#: the end, which need not be the one at the beginning.
_LENGTH_IS_GUESSED = (
    *("h261", "h263", "h264", "hevc", "m4v", "mjpeg", "mpeg", "mpegvideo", "vvc", "obu", "cavs"),
    *("mpegts", "mpegtsraw"),
)


class Region(NamedTuple):
    """A part of a file, such as a member of an archive that is not compressed.

    Attributes:
        path: The file.
        offset: Where it begins, bytes.
        size: Its length, bytes.
        member: Its name there.
    """

    path: Path
    offset: int
    size: int
    member: str

    def __str__(self) -> str:
        return f"{self.path}: {self.member}"

    def read(self) -> bytes:
        """The bytes.

        Raises:
            VideoError: If they are not there, or too many to hold.
        """
        if self.size > MAX_REGION:
            raise VideoError(f"{self}: {self.size} bytes; a member has at most {MAX_REGION}")
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise VideoError(f"{self}: cannot be read ({error.strerror})") from None
        if len(data) < self.size:
            raise VideoError(f"{self}: the file ends before it")
        return data


class SkippedPacket(NamedTuple):
    """A piece of the file that could not be decoded, or that is shown with doubt.

    Attributes:
        time: When its picture would have been shown, seconds; None if unknown, or for the whole.
        reason: What the decoder said.
        note: Nothing is lost; `reason` says what is doubtful about what is shown.
    """

    time: float | None
    reason: str
    note: bool = False


@dataclass
class Source:
    """An open container and its video stream.

    Attributes:
        path: The file.
        container: Open; whoever opened the source closes it.
        stream: The video stream that is decoded.
        origin: Presentation time at which the container starts, in units of `tick`.
        tick: Seconds in one unit of the stream's timestamps.
        nominal: Usual time between two frames, seconds.
        thread_type: How ffmpeg decodes in parallel.
        has_pts: Whether the container stores presentation times. AVI does not: ffmpeg's are made up
            there, and wrong where frames are reordered.
        size: Of the file, bytes.
        told_aspect: Width of a pixel in heights if the container says it, which counts before what
            the codec says.
    """

    #: So many bytes of a file make up for a second in which nothing new is shown: the least that
    #: a video is stored with.
    BYTES_A_SECOND = 500

    path: Path | Region
    container: InputContainer
    stream: VideoStream
    origin: float
    tick: float
    nominal: float
    thread_type: str
    has_pts: bool
    size: int
    told_aspect: float | None

    @property
    def aspect(self) -> float:
        """Width of a stored pixel of the frame decoded last, in heights; 1 if nothing is said."""
        told = self.told_aspect or self.stream.codec_context.sample_aspect_ratio
        return float(told) if told and told > 0 else 1.0

    @property
    def can_seek(self) -> bool:
        """Whether what is read after a seek has the same times as when reading on."""
        return not self.container.format.flags & Flags.ts_discont.value

    @property
    def step(self) -> float:
        """Time between frames where a file does not say it, seconds; a file may say anything."""
        return min(self.nominal, 1.0)

    @property
    def most_still(self) -> float:
        """For how long its frames may be on screen beyond what frames usually are, seconds."""
        return 60.0 + self.size / self.BYTES_A_SECOND

    @property
    def frame_threads(self) -> bool:
        """Whether several frames may be decoded at once."""
        return self.thread_type in ("AUTO", "FRAME")

    @property
    def declared_end(self) -> float:
        """When the file says that it ends, seconds; infinite if it does not say."""
        whole, video = self.container.duration, self.stream.duration
        ends = [] if whole is None else [whole / av.time_base]
        if video is not None:
            ends.append(((self.stream.start_time or 0) + video - self.origin) * self.tick)
        return min(ends, default=math.inf)

    @property
    def tells_length(self) -> bool:
        """Whether the lengths that ffmpeg gives are what the file says."""
        return self.container.format.name not in _LENGTH_IS_GUESSED

    def pts(self, item: Packet | VideoFrame) -> int | None:
        """The presentation timestamp of a packet or frame, None if unknown."""
        return item.pts if self.has_pts else None

    def packet_time(self, packet: Packet | None) -> float | None:
        """When a packet's picture is shown, or else decoded, seconds."""
        if packet is None:
            return None
        pts = self.pts(packet)
        return self.seconds(packet.dts if pts is None else pts)

    def duration(self, item: Packet | VideoFrame) -> float:
        """For how long a packet or frame is shown, seconds; 0 if the file does not say it."""
        return (item.duration or 0) * self.tick

    def seconds(self, timestamp: int | None) -> float | None:
        """A timestamp of the stream as seconds from the start of the container."""
        return None if timestamp is None else (timestamp - self.origin) * self.tick

    def timestamp(self, seconds: float) -> int:
        """The inverse of `seconds`, within the range of ffmpeg's timestamps."""
        return round(min(seconds / self.tick + self.origin, 2.0**62))


def open_source(path: str | os.PathLike[str] | Region, thread_type: str = "AUTO") -> Source:
    """Open the best video stream of a local file.

    Args:
        path: A file, or a region of one. Never a URL or another of ffmpeg's protocols, whatever the
            name looks like.
        thread_type: How ffmpeg decodes in parallel: "AUTO", "FRAME", "SLICE" or "NONE".

    Raises:
        VideoError: If there is no such file, it is no video or has no video stream, no decoder
            exists, or its pictures are larger than the limits.
    """
    path = path if isinstance(path, Region) else Path(path)
    container = open_container(path)
    try:
        return _source(path, container, thread_type)
    except BaseException:
        container.close()
        raise


def open_container(path: Path | Region) -> InputContainer:
    """Open a local file, of a format and by a protocol that are allowed.

    Raises:
        VideoError: If there is no such file, or it is no video.
    """
    whole = path.path if isinstance(path, Region) else path
    # An absolute path behind "file:" cannot be taken for a protocol or an option.
    where, protocols = f"file:{_regular_file(whole).absolute()}", "file"
    if isinstance(path, Region):
        where = f"subfile,,start,{path.offset},end,{path.offset + path.size},,:{where}"
        protocols = "file,subfile"
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": protocols}
    options["max_pixels"] = str(MAX_PIXELS)
    try:
        return av.open(where, "r", options=options, metadata_errors="replace")
    except FFmpegError as error:
        raise VideoError(
            f"{path}: not a video, or too damaged to read ({reason_of(error)})"
        ) from None


def reason_of(error: FFmpegError) -> str:
    """What ffmpeg said, without its numbers and function names."""
    return (error.strerror or type(error).__name__).strip().lower()


def check_size(path: Path | Region, width: int, height: int) -> None:
    """Raise VideoError for pictures that only a broken or hostile file has."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise VideoError(
            f"{path}: frames of {width}x{height} pixels; at most {MAX_SIDE} a side and "
            f"{MAX_PIXELS // 2**20} Mi pixels in all are allowed"
        )


def _regular_file(path: str | os.PathLike[str]) -> Path:
    name = local_path(path)
    try:
        mode = name.stat().st_mode
        if stat.S_ISREG(mode):
            with name.open("rb"):
                return name
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file") from None
    except ValueError:  # a NUL character
        raise VideoError(f"{str(name)!r}: not a file name") from None
    except OSError as error:
        raise VideoError(f"{name}: cannot be read ({error.strerror})") from None
    if stat.S_ISDIR(mode):
        raise VideoError(f"{name}: a directory, not a video file")
    raise VideoError(f"{name}: not a regular file; copy the video to a file first")


def _source(path: Path | Region, container: InputContainer, thread_type: str) -> Source:
    if not len(container.streams):
        raise VideoError(f"{path}: not a video, or too damaged to read (no stream found)")
    pictures = Disposition.attached_pic  # the cover of a song is no video
    streams = [s for s in container.streams.video if not s.disposition & pictures]
    if not streams:
        kinds = ", ".join(sorted({s.type or "unknown" for s in container.streams}))
        raise VideoError(f"{path}: has no video stream (only: {kinds})")
    best = container.streams.best("video")
    stream = next((s for s in streams if s is best), streams[0])
    codec = stream.codec_context
    if codec is None:
        raise VideoError(f"{path}: no decoder for its video codec")
    check_size(path, codec.width, codec.height)
    codec.options = {"max_pixels": str(MAX_PIXELS)}
    codec.thread_type = thread_type
    rate = stream.average_rate or stream.guessed_rate or 25
    assert stream.time_base is not None  # ffmpeg gives every stream of an input one
    tick = float(stream.time_base)
    origin = 0.0
    if container.start_time is not None:
        origin = container.start_time / av.time_base / tick
        # The container's start is rounded to microseconds, the stream's own is exact.
        if stream.start_time is not None and abs(stream.start_time - origin) * tick < 2e-6:
            origin = stream.start_time
    return Source(
        path=path,
        container=container,
        stream=stream,
        origin=origin,
        tick=tick,
        nominal=1 / float(rate),
        thread_type=thread_type,
        has_pts=container.format.name != "avi",
        size=max(container.size, 0),
        told_aspect=_told_aspect(stream),
    )


def _told_aspect(stream: VideoStream) -> float | None:
    told, of_codec = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
    return float(told) if told and told > 0 and told != of_codec else None
