"""Makes tests/data/preprocessing.npz with TensorFlow: what the reference's preprocessing gives.

Needs numpy and tensorflow (2.20 made the file) in an environment of their own:
``python benchmarks/reference_preprocessing.py tests/data/preprocessing.npz``. The steps are those
of TensorFlow Model Garden, official/vision/ops/preprocess_ops_3d.py.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

# name: (height, width, short side, size of the crop)
CASES = {
    "down": (61, 87, 40, 33),
    "tall": (90, 47, 24, 19),
    "up": (23, 17, 40, 31),
    "odd": (41, 57, 28, 28),
    "same": (30, 45, 30, 21),
    "far": (7, 160, 18, 9),
}


def crops(frames: tf.Tensor, size: int) -> dict[str, np.ndarray]:
    _, height, width, _ = frames.numpy().shape
    offsets = {"first": 0.0, "middle": max(height, width) / 2 - size // 2}
    offsets["last"] = float(max(height, width) - size)
    result = {"center": tf.image.resize_with_crop_or_pad(frames, size, size)[0].numpy()}
    for name, offset in offsets.items():
        place = int(tf.cast(tf.math.round(tf.constant(offset, tf.float32)), tf.int32))
        begin = [0, place, 0, 0] if height >= width else [0, 0, place, 0]
        result[name] = tf.slice(frames, begin, [1, size, size, 3])[0].numpy()
    return result


def main() -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"names": np.array(list(CASES))}
    for name, (height, width, short_side, size) in CASES.items():
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        frames = tf.constant(image)[None]
        shape = (
            max(short_side, height * short_side // width),
            max(short_side, width * short_side // height),
        )
        if shape != (height, width):
            frames = tf.cast(tf.image.resize(frames, shape), tf.uint8)
        arrays |= {f"{name}/{crop}": part for crop, part in crops(frames, size).items()}
        arrays[f"{name}/image"], arrays[f"{name}/resized"] = image, frames[0].numpy()
        arrays[f"{name}/sizes"] = np.array([short_side, size])
    every = tf.cast(tf.range(256), tf.uint8)
    arrays["scaled"] = (tf.cast(every, tf.float32) / 255.0).numpy()
    np.savez_compressed(sys.argv[1], allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
