"""Write a video's frames at a fixed rate as PPM images, one after another, to standard output."""

from __future__ import annotations

import argparse
import sys

from movinet.errors import MovinetError
from movinet.video import VideoReader, resample


def main() -> int:
    """Decode, resample by presentation time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("frame_rate", type=float, help="that of the model, frames a second")
    arguments = parser.parse_args()
    try:
        with VideoReader(arguments.video) as reader:
            for frame in resample(reader, arguments.frame_rate):
                height, width = frame.image.shape[:2]
                sys.stdout.buffer.write(b"P6 %d %d 255\n" % (width, height))
                sys.stdout.buffer.write(frame.image.tobytes())
    except MovinetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
