r"""Build the reference's stream models as TF Lite files, for benchmarks/streaming.py.

Needs an environment of its own, of about 3 GB (Python 3.11):

    python -m venv tfenv
    tfenv/bin/pip install "tensorflow-cpu==2.20.*" "tf-keras==2.20.*" google-crc32c
    tfenv/bin/pip install --no-deps tf-models-official==2.20.0 tensorflow-hub \
        tensorflow-model-optimization
    tfenv/bin/pip install gin-config tf_slim pyyaml opencv-python-headless matplotlib pandas \
        scipy immutabledict psutil py-cpuinfo tensorflow-datasets pycocotools seqeval \
        sentencepiece sacrebleu Cython pillow

Then, from the repository:

    PYTHONPATH=src tfenv/bin/python tools/build_reference_tflite.py reference_tflite

Each file is what the reference's README tells its users to make: its own export tool with the
options of the published model, one frame at a time, batch 1, states as inputs and outputs, and
TensorFlow's converter with nothing set (a0.tflite) or with its default optimisation, which is int8
weights (a0_dynamic.tflite). The weights are random ones, the same for every run; they do not change
the time, and a0/ckpt.* has them as a checkpoint, of which the benchmark makes the same network.
All six took 54 minutes of processor time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from official.projects.movinet.modeling import movinet, movinet_model
from official.projects.movinet.tools import export_saved_model

from movinet.files import replacing
from movinet.network.presets import input_spec, preset_config

MODELS = ("a0", "a1", "a2", "a3", "a4", "a5")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=(*MODELS, "t0"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        start = time.perf_counter()
        for file in build(name, options.folder):
            print(f"{file}: {file.stat().st_size / 1e6:.1f} MB", flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def build(name: str, folder: Path) -> list[Path]:
    """Make the checkpoint and both files of one model; the files."""
    network = network_options(f"{name}_stream")
    checkpoint = folder / name / "ckpt"
    write_checkpoint(name, network, checkpoint)
    size = input_spec(f"{name}_stream").image_size
    files = [folder / f"{name}.tflite", folder / f"{name}_dynamic.tflite"]
    with tempfile.TemporaryDirectory() as saved:
        export_saved_model.build_and_export_saved_model(
            export_path=saved,
            model_id=name,
            input_shape=(1, 1, size, size, 3),
            bundle_input_init_states_fn=False,
            checkpoint_path=str(checkpoint),
            assert_checkpoint_objects_matched=False,  # it would want the optimiser's, too
            **network,
        )
        for file, optimizations in zip(files, ([], [tf.lite.Optimize.DEFAULT]), strict=True):
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            converter.optimizations = optimizations
            with replacing(file) as part:
                part.write_bytes(converter.convert())
    return files


def network_options(preset: str) -> dict[str, Any]:
    """The preset in the words of the reference's export tool."""
    config = preset_config(preset)
    return {
        "causal": True,
        "conv_type": "2plus1d",
        "se_type": config.se_type,
        "activation": config.activation,
        "classifier_activation": config.head_activation,
        "gating_activation": config.gating_activation,
        "use_positional_encoding": config.positional_encoding,
        "num_classes": config.num_classes,
    }


def write_checkpoint(name: str, network: dict[str, Any], prefix: Path) -> None:
    """A checkpoint of the network with random weights in which every part has an effect."""
    backbone = movinet.Movinet(
        model_id=name,
        causal=True,
        conv_type=network["conv_type"],
        se_type=network["se_type"],
        activation=network["activation"],
        gating_activation=network["gating_activation"],
        use_positional_encoding=network["use_positional_encoding"],
        use_external_states=False,
    )
    model = movinet_model.MovinetClassifier(
        backbone,
        num_classes=network["num_classes"],
        activation=network["classifier_activation"],
    )
    model.build([1, 2, 64, 64, 3])
    for number, variable in enumerate(model.variables):
        variable.assign(random_values(variable.name, number, tuple(variable.shape)))
    prefix.parent.mkdir(exist_ok=True)
    tf.train.Checkpoint(model=model).write(str(prefix))


def random_values(name: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a size that keeps activations in range; no part is switched off by a zero."""
    rng = np.random.default_rng([number, zlib.crc32(name.encode())])
    kind = name.split("/")[-1].split(":")[0]
    if "kernel" in kind:
        fan_in = int(np.prod(shape[:-1]))
        if "depthwise" in kind:
            fan_in = int(np.prod(shape[:2]))
        return rng.normal(0, np.sqrt(2 / fan_in), shape)
    if kind in ("gamma", "moving_variance"):
        return rng.uniform(0.7, 1.3, shape)
    if kind in ("beta", "moving_mean", "bias"):
        return rng.normal(0, 0.1, shape)
    return rng.uniform(0.3, 0.7, shape)


if __name__ == "__main__":
    main()
