"""Make tests/data/checkpoints: what TensorFlow writes for networks of made-up weights.

Needs the environment of verify_with_tensorflow.py. From the repository:

    PYTHONPATH=src:tests tfenv/bin/python tools/make_tensorflow_fixtures.py tests/data/checkpoints

For t0_base and t0_stream of 7 classes, with the weights of tests/reference_weights.py, it keeps the
index and the object graph of an ordinary checkpoint and of a SavedModel; the tensors themselves
follow from their keys. logits.npz has the reference's outputs for a video of that module.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from verify_with_tensorflow import build_reference

from movinet.checkpoints.object_graph import GRAPH_KEY
from movinet.checkpoints.tensorflow import write_tf_checkpoint
from reference_weights import video, weight

NUM_CLASSES = 7
VIDEO_SHAPE = (1, 5, 64, 64, 3)
BASE = argparse.Namespace(
    model_id="t0",
    causal=False,
    conv_type="3d",
    se_type="3d",
    activation="swish",
    gating_activation="sigmoid",
    head_activation="swish",
    positional_encoding=False,
    num_classes=NUM_CLASSES,
)
STREAM = argparse.Namespace(
    model_id="t0",
    causal=True,
    conv_type="2plus1d",
    se_type="2plus3d",
    activation="hard_swish",
    gating_activation="hard_sigmoid",
    head_activation="hard_swish",
    positional_encoding=False,
    num_classes=NUM_CLASSES,
)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    logits = {}
    for name, options in (("t0_base", BASE), ("t0_stream", STREAM)):
        model = build_reference(options)
        with tempfile.TemporaryDirectory() as scratch:
            fill(model, scratch)
            logits[name] = model({"image": video(VIDEO_SHAPE)}).numpy()
            keep(tf.train.Checkpoint(model=model).save(f"{scratch}/ckpt"), folder / f"{name}_ckpt")
            model.compile()  # as the reference's exporter does: adds an optimizer's variables
            tf_keras.models.save_model(model, f"{scratch}/saved")
            keep(f"{scratch}/saved/variables/variables", folder / f"{name}_saved_model")
    np.savez_compressed(folder / "logits.npz", **logits)
    return 0


def fill(model: tf_keras.Model, scratch: str) -> None:
    """Give every variable the value that follows from its checkpoint key."""
    checkpoint = tf.train.Checkpoint(model=model)
    shapes = tf.train.load_checkpoint(checkpoint.write(f"{scratch}/keys"))
    tensors = {
        key: weight(key, tuple(shape))
        for key, shape in shapes.get_variable_to_shape_map().items()
        if key.startswith("model/")
    }
    write_tf_checkpoint(f"{scratch}/filled", tensors)
    checkpoint.restore(f"{scratch}/filled").assert_consumed()


def keep(prefix: str, target: Path) -> None:
    """Store the index and the object graph of a checkpoint, compressed."""
    graph = tf.train.load_checkpoint(prefix).get_tensor(GRAPH_KEY)
    for suffix, content in (("index", Path(f"{prefix}.index").read_bytes()), ("graph", graph)):
        packed = gzip.compress(content, mtime=0)
        target.with_name(f"{target.name}.{suffix}.gz").write_bytes(packed)


if __name__ == "__main__":
    sys.exit(main())
