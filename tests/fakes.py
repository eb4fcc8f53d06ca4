"""Models whose outputs a test can work out by hand, and videos whose pixels it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from movinet.errors import ConfigError
from movinet.network.config import InputSpec
from movinet.runtime import ModelInfo, Runtime
from movinet.video.preprocessing import to_unit

COLOURS = ("red", "green", "blue")


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(np.asarray(logits, np.float64))
    return (exponentials / exponentials.sum(-1, keepdims=True)).astype(np.float32)


def colour_logits(image: np.ndarray) -> np.ndarray:
    """Mean red, green and blue in [0, 1], times 4."""
    scale = 255 if image.dtype == np.uint8 else 1
    return (4 * image.mean(axis=(0, 1), dtype=np.float64) / scale).astype(np.float32)


def model_info(
    *,
    name: str = "fake",
    streaming: bool = True,
    size: int = 16,
    frame_rate: float = 5.0,
    num_frames: int = 4,
    **fields: Any,
) -> ModelInfo:
    values: dict[str, Any] = {"labels": COLOURS, "origin": "made up for a test", **fields}
    return ModelInfo(
        name=name,
        input=InputSpec(size, size, frame_rate, num_frames),
        streaming=streaming,
        **values,
    )


class ColourStream:
    """Probabilities from the mean colour of all frames seen."""

    def __init__(self, runtime: ColourRuntime) -> None:
        self._runtime = runtime
        self.reset()

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        self._runtime.seen.append(frame)
        self._total, self._count = self._total + colour_logits(frame), self._count + 1
        return softmax(self._total / self._count)

    @property
    def embedding(self) -> np.ndarray:
        return self._total / self._count

    def fade(self, missed: int) -> None:
        del missed

    def reset(self) -> None:
        self._total, self._count = np.zeros(3, np.float32), 0

    def snapshot(self) -> tuple[np.ndarray, int]:
        return self._total, self._count

    def restore(self, snapshot: tuple[np.ndarray, int]) -> None:
        self._total, self._count = snapshot


@dataclass
class ColourRuntime:
    """Logits, and embeddings, are the mean colour of a clip; it keeps what it has seen."""

    info: ModelInfo = field(default_factory=model_info)
    members: Sequence[Runtime] = ()
    seen: list[np.ndarray] = field(default_factory=list)

    def stream(self, *, half_life: float | None = None) -> ColourStream:
        assert half_life is None  # it knows no other mean
        if not self.info.streaming:
            raise ConfigError(f"{self.info.name} is not a stream model")
        return ColourStream(self)

    def running_logits(
        self, frames: np.ndarray, state: Any = None, *, half_life: float | None = None
    ) -> tuple[np.ndarray, Any]:
        assert half_life is None  # it knows no other mean
        assert frames.dtype == np.uint8  # a quarter of the memory of float32
        frames = to_unit(frames)
        total, count = state or (np.zeros(3), 0)
        totals = total + np.cumsum([colour_logits(frame) for frame in frames], axis=0)
        counts = count + np.arange(1, len(frames) + 1)
        self.seen += list(frames)
        return (totals / counts[:, None]).astype(np.float32), (totals[-1], int(counts[-1]))

    def running_embeddings(self, frames: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        return self.running_logits(frames, state)

    def clip_embedding(self, frames: np.ndarray) -> np.ndarray:
        return self.clip_logits(frames)

    def clip_logits(self, frames: np.ndarray) -> np.ndarray:
        assert frames.dtype == np.uint8
        frames = to_unit(frames)
        assert frames.shape[1:] == (self.info.input.image_size,) * 2 + (3,)
        self.seen.append(frames)
        return np.mean([colour_logits(frame) for frame in frames], axis=0)


def write_video(
    path: Path,
    frames: Sequence[tuple[int, int, int] | np.ndarray],
    *,
    rate: int = 10,
    size: int = 32,
) -> Path:
    """A lossless Matroska video, a frame for each (red, green, blue) or uint8 RGB image."""
    images = [
        frame if isinstance(frame, np.ndarray) else np.full((size, size, 3), frame, np.uint8)
        for frame in frames
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "bgr0"  # the encoder's only lossless RGB of 8 bits
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_broken_video(path: Path, broken: int, *, count: int = 20, rate: int = 10) -> Path:
    """A Matroska video whose frame number `broken` is nothing but zeros."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        images = (np.full((32, 32, 3), 10 * i, np.uint8) for i in range(count))
        packets = [
            packet
            for image in images
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
        ]
        for i, packet in enumerate(packets):
            if i == broken:
                zeros = av.Packet(bytes(packet.size))
                zeros.pts, zeros.dts = packet.pts, packet.dts
                zeros.time_base, zeros.stream = packet.time_base, stream
                zeros.is_keyframe = True
                packet = zeros
            container.mux(packet)
    return path


def gradient(count: int) -> list[tuple[int, int, int]]:
    """Colours from red to blue, all different, so that a frame is known by its colour."""
    return [(255 - 12 * i, 40, 12 * i) for i in range(count)]


def mean_logits(colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """What `ColourRuntime` says of frames of these colours."""
    return 4 * np.mean(np.array(colours, np.float64) / 255, axis=0)
