"""Video files: decoding by presentation time, sampling, preprocessing and writing.

No deep-learning framework here: numpy and PyAV (ffmpeg's libraries) only.
"""

from movinet.video.clips import Clip, read_clip, views
from movinet.video.container import SkippedPacket
from movinet.video.finding import VIDEO_SUFFIXES, find_videos
from movinet.video.frame_folder import FrameFolder
from movinet.video.inputs import open_media
from movinet.video.media import Media, VideoFile
from movinet.video.pixels import Frame
from movinet.video.preprocessing import center_crop, preprocess, resize_short_side
from movinet.video.reader import VideoInfo, VideoReader
from movinet.video.sampling import resample
from movinet.video.writer import VideoWriter

__all__ = [
    "VIDEO_SUFFIXES",
    "Clip",
    "Frame",
    "FrameFolder",
    "Media",
    "SkippedPacket",
    "VideoFile",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "center_crop",
    "find_videos",
    "open_media",
    "preprocess",
    "read_clip",
    "resample",
    "resize_short_side",
    "views",
]
