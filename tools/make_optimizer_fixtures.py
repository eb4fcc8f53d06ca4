"""Make tests/data/optimization.npz: what TensorFlow computes where training has to agree with it.

Needs an environment of its own, of about 3 GB (Python 3.11):

    python -m venv tfenv
    tfenv/bin/pip install "tensorflow==2.20.*" "tf-keras==2.20.*" gin-config pyyaml
    tfenv/bin/pip install --no-deps tf-models-official==2.20.0 tensorflow-hub \
        tensorflow-model-optimization
    tfenv/bin/python tools/make_optimizer_fixtures.py tests/data/optimization.npz

The optimiser, its schedule and its moving average are built by the reference's own factory from the
settings of the published recipes, but for the number of steps. The archive has the gradients that
they were given (as float16, which loses nothing of them), and what came out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tf_keras
from official.modeling import optimization

STEPS, WARMUP, PEAK = 100, 10, 1.8
PUBLISHED_STEPS, PUBLISHED_WARMUP = 85_785, 2_145
EMA_DECAY = 0.9
WEIGHT_DECAY = 3e-5
SMOOTHING = 0.1
SHAPES = {"kernel": (6, 2, 1, 3, 3), "matrix": (7, 4), "bias": (6,), "scale": (1,)}
KEPT_STEPS = (1, 2, 11, STEPS)

Arrays = dict[str, np.ndarray]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    rng = np.random.default_rng(3)
    arrays = {**updates(rng), **schedules(), **losses(rng), **decay(rng)}
    np.savez_compressed(file, **arrays)
    print(f"{file}: {len(arrays)} arrays, {file.stat().st_size} bytes")


def factory(steps: int, warmup: int, kind: str = "cosine") -> optimization.OptimizerFactory:
    """The reference's, with the published settings."""
    rate = (
        {"initial_learning_rate": PEAK, "decay_steps": steps}
        if kind == "cosine"
        else {"learning_rate": PEAK}
    )
    rmsprop = {"rho": 0.9, "momentum": 0.9, "epsilon": 1.0, "clipnorm": 1.0}
    settings = {
        "optimizer": {"type": "rmsprop", "rmsprop": rmsprop},
        "learning_rate": {"type": kind, kind: rate},
        "warmup": {"type": "linear", "linear": {"warmup_steps": warmup}},
        "ema": {"average_decay": EMA_DECAY},
    }
    return optimization.OptimizerFactory(optimization.OptimizationConfig(settings))


def updates(rng: np.random.Generator) -> Arrays:
    """Variables, slots and averages of 100 updates with gradients of very different norms."""
    made = factory(STEPS, WARMUP)
    optimizer = made.build_optimizer(made.build_learning_rate())
    arrays: Arrays = {}
    variables = {}
    for name, shape in SHAPES.items():
        start = rng.normal(size=shape).astype(np.float32)
        # From a hundredth of the norm that is clipped to up to a hundred times it.
        sizes = 10.0 ** rng.uniform(-2, 2, STEPS) / np.sqrt(np.prod(shape))
        gradients = rng.normal(size=(STEPS, *shape)) * sizes.reshape(-1, *[1] * len(shape))
        arrays[f"start/{name}"] = start
        arrays[f"gradients/{name}"] = gradients.astype(np.float16)
        variables[name] = tf.Variable(start, name=name)
    optimizer.shadow_copy(SimpleNamespace(trainable_variables=[*variables.values()]))
    for step in range(1, STEPS + 1):
        optimizer.apply_gradients(
            (tf.constant(arrays[f"gradients/{name}"][step - 1].astype(np.float32)), variable)
            for name, variable in variables.items()
        )
        if step in KEPT_STEPS:
            for name, variable in variables.items():
                kept = f"{step}/{name}"
                arrays[f"variable/{kept}"] = variable.numpy()
                arrays[f"average/{kept}"] = optimizer.get_slot(variable, "average").numpy()
                # The slots of RMSprop are those of the optimiser that the average is around.
                inner = optimizer._optimizer
                arrays[f"square/{kept}"] = inner.get_slot(variable, "rms").numpy()
                arrays[f"momentum/{kept}"] = inner.get_slot(variable, "momentum").numpy()
    return arrays


def schedules() -> Arrays:
    """Learning rates of the short run, of the published one, and of a constant one."""
    short, published = np.arange(STEPS + 3), [0, 1, 1_000, 2_144, 2_145, 2_146, 40_000, 85_000]
    steps = np.array([*published, PUBLISHED_STEPS, PUBLISHED_STEPS + 5])
    runs = {
        "short": (short, factory(STEPS, WARMUP)),
        "published": (steps, factory(PUBLISHED_STEPS, PUBLISHED_WARMUP)),
        "constant": (short, factory(STEPS, WARMUP, "constant")),
    }
    arrays: Arrays = {}
    for name, (at, made) in runs.items():
        rate = made.build_learning_rate()
        arrays[f"rate/{name}/steps"] = at
        arrays[f"rate/{name}"] = np.array([rate(int(step)).numpy() for step in at])
    return arrays


def losses(rng: np.random.Generator) -> Arrays:
    """Losses of five clips each and their gradients: classes, mixed classes, several labels."""
    logits = (3 * rng.normal(size=(5, 7))).astype(np.float32)
    classes = np.array([0, 6, 3, 3, 1])
    one_hot = np.eye(7, dtype=np.float32)[classes]
    mixed = (0.7 * one_hot + 0.3 * one_hot[::-1]).astype(np.float32)
    several = (rng.random((5, 7)) < 0.4).astype(np.float32)
    arrays: Arrays = {"loss/logits": logits, "loss/classes/targets": classes}
    arrays |= {"loss/mixed/targets": mixed, "loss/several/targets": several}
    crossentropy = tf_keras.losses.categorical_crossentropy
    values = tf.Variable(logits)
    for name, targets in {"classes": one_hot, "mixed": mixed, "several": several}.items():
        with tf.GradientTape() as tape:
            if name == "several":
                each = tf_keras.losses.binary_crossentropy(targets, values, from_logits=True)
            else:
                each = crossentropy(targets, values, from_logits=True, label_smoothing=SMOOTHING)
        arrays[f"loss/{name}"] = each.numpy()
        arrays[f"loss/{name}/gradient"] = tape.gradient(each, values).numpy()
    return arrays


def decay(rng: np.random.Generator) -> Arrays:
    """The gradient of the loss that the reference's weight decay is."""
    kernel = tf.Variable(rng.normal(size=SHAPES["kernel"]).astype(np.float32))
    with tf.GradientTape() as tape:
        penalty = tf_keras.regularizers.l2(WEIGHT_DECAY / 2)(kernel)
    gradient = tape.gradient(penalty, kernel)
    return {"decay/kernel": kernel.numpy(), "decay/gradient": gradient.numpy()}


if __name__ == "__main__":
    main()
