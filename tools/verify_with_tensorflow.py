r"""Check a checkpoint that movinet wrote against the reference implementation, in TensorFlow.

Not part of `make test`: it needs an environment of its own, of about 3 GB (Python 3.11):

    python -m venv tfenv
    tfenv/bin/pip install "tensorflow-cpu==2.20.*" "tf-keras==2.20.*" google-crc32c
    tfenv/bin/pip install --no-deps tf-models-official==2.20.0 tensorflow-hub \
        tensorflow-model-optimization
    tfenv/bin/pip install gin-config tf_slim pyyaml opencv-python-headless matplotlib pandas \
        scipy immutabledict psutil py-cpuinfo tensorflow-datasets pycocotools seqeval \
        sentencepiece sacrebleu Cython pillow

Then, from the repository (the options describe the network, here t0_stream):

    PYTHONPATH=src tfenv/bin/python tools/verify_with_tensorflow.py folder/ckpt-1 --model-id t0 \
        --causal --conv-type 2plus1d --se-type 2plus3d --activation hard_swish \
        --gating-activation hard_sigmoid --head-activation hard_swish --num-classes 7

It builds the reference's model, restores the checkpoint as its users do, compares every variable
with what `read_tf_checkpoint` reads, bit for bit, and with --expected compares outputs. Exit code 1
means that something differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from official.projects.movinet.modeling import movinet, movinet_model

from movinet.checkpoints.tensorflow import read_tf_checkpoint


def main() -> int:
    """Run the command line."""
    options = parse_options()
    model = build_reference(options)
    checkpoint = tf.train.Checkpoint(model=model)
    status = checkpoint.restore(options.checkpoint).expect_partial()
    differing = compare_variables(checkpoint, read_tf_checkpoint(options.checkpoint))
    print(f"variables: {len(model.variables)}, differing: {len(differing)}")
    for line in differing[:10]:
        print(f"  {line}")
    for name in ("assert_existing_objects_matched", "assert_consumed"):
        try:
            getattr(status, name)()
            print(f"{name}: passes")
        except AssertionError as error:
            print(f"{name}: fails: {str(error)[:300]}")
    agree = options.expected is None or compare_outputs(model, options)
    return int(bool(differing) or not agree)


def parse_options() -> argparse.Namespace:
    """The command line's arguments; the network's are named as the reference names them."""
    summary = __doc__.splitlines()[0] if __doc__ else None
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("checkpoint", help="prefix of the checkpoint")
    add_network_options(parser)
    parser.add_argument("--expected", type=Path, help=".npz with `video` and `logits`")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of the largest logit")
    return parser.parse_args()


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe a network."""
    parser.add_argument("--model-id", default="a0")
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--conv-type", default="3d", choices=["3d", "2plus1d", "3d_2plus1d"])
    parser.add_argument("--se-type", default="3d", choices=["3d", "2d", "2plus3d", "none"])
    parser.add_argument("--activation", default="swish")
    parser.add_argument("--gating-activation", default="sigmoid")
    parser.add_argument("--head-activation", default="swish")
    parser.add_argument("--positional-encoding", action="store_true")
    parser.add_argument("--num-classes", type=int, default=600)


def build_reference(options: argparse.Namespace) -> tf.keras.Model:
    """The reference's classifier, built and with its own initial weights."""
    backbone = movinet.Movinet(
        model_id=options.model_id,
        causal=options.causal,
        conv_type=options.conv_type,
        se_type=options.se_type,
        activation=options.activation,
        gating_activation=options.gating_activation,
        use_positional_encoding=options.positional_encoding,
        use_external_states=False,
    )
    model = movinet_model.MovinetClassifier(
        backbone,
        num_classes=options.num_classes,
        activation=options.head_activation,
        output_states=False,
    )
    model.build([1, 2, 64, 64, 3])
    return model


def keyed_variables(checkpoint: tf.train.Checkpoint) -> dict[str, np.ndarray]:
    """The values that the reference's variables have now, by key: what TensorFlow itself saves."""
    with tempfile.TemporaryDirectory() as folder:
        reader = tf.train.load_checkpoint(checkpoint.write(f"{folder}/saved"))
        return {
            key: reader.get_tensor(key)
            for key in reader.get_variable_to_shape_map()
            if key.startswith("model/")
        }


def compare_variables(checkpoint: tf.train.Checkpoint, ours: dict[str, np.ndarray]) -> list[str]:
    """One line for each variable of the reference that is not what we read, and for left-overs."""
    theirs = keyed_variables(checkpoint)
    lines = [f"only in the reference: {key}" for key in sorted(theirs.keys() - ours.keys())]
    lines += [f"only in ours: {key}" for key in sorted(ours.keys() - theirs.keys())]
    for key in sorted(theirs.keys() & ours.keys()):
        mine, other = ours[key], np.asarray(theirs[key])
        if mine.shape != other.shape or mine.dtype != other.dtype:
            lines.append(f"{key}: {mine.dtype}{mine.shape}, reference {other.dtype}{other.shape}")
        elif mine.tobytes() != other.tobytes():
            lines.append(f"{key}: largest difference {np.abs(mine - other).max()}")
    return lines


def compare_outputs(model: tf.keras.Model, options: argparse.Namespace) -> bool:
    """Whether the reference, with our weights, gives the stored logits."""
    with np.load(options.expected) as stored:
        video, logits = stored["video"], stored["logits"]
    difference = np.abs(model({"image": video}).numpy() - logits).max() / np.abs(logits).max()
    print(f"logits: largest difference {difference:.2e} of the largest logit")
    return bool(difference <= options.tolerance)


if __name__ == "__main__":
    sys.exit(main())
