"""Write what the native programs and the sanitizers are run over.

For each case NAME.mvn, a network; NAME.f32, its frames, (time, streams, height, width, 3) float32;
NAME.npy, the logits that the installed engine gives, (time, streams, classes). "reference_…" are
the reference's networks, held against the reference's own logits, "small_…" small ones of every
kind, with odd channels and sizes, held against PyTorch.
"""

import gzip
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from native_files import assert_near, open_engine, run_engine, running_logits, write_file

from movinet.network.config import Architecture, Group
from movinet.network.model import MoViNet
from movinet.network.presets import preset_config
from movinet.weights.layouts import tf_to_torch
from networks import make_model, make_video, tiny_stream
from reference_weights import video as reference_video
from reference_weights import weight

CASES = Path(__file__).parent.parent / "data" / "cases"
#: Of the largest logit, against PyTorch and the reference, for each quantization.
TOLERANCE = {"none": 1e-4, "float16": 0.01, "dynamic": 0.2}
REFERENCE = [f"{name}_stream" for name in ("a0", "a1", "a2", "a3", "a4", "a5", "t0")]
REFERENCE.append("a0_stream_50x66")
#: Numbers of channels that fill no vector, and kernels of every size.
ODD = Architecture(
    stem=5,
    groups=(
        Group(3, 2, ((17, 1, 5), (1, 3, 3))),
        Group(19, 2, ((33, 5, 3), (31, 1, 1))),
        Group(1, 1, ((7, 3, 7),)),
        Group(35, 2, ((65, 3, 5),)),
    ),
    head=29,
    hidden=13,
)
#: name -> options of the model, (height, width), streams, frames
SMALL: dict[str, tuple[dict[str, Any], tuple[int, int], int, int]] = {
    "odd": ({"architecture": ODD, "num_classes": 3}, (45, 37), 3, 7),
    "odd_no_gates": (
        {"architecture": ODD, "se_type": "none", "positional_encoding": False},
        (31, 66),
        1,
        6,
    ),
    "one_pixel": ({}, (1, 1), 2, 4),
    "one_row": ({"num_classes": 1}, (1, 50), 1, 4),
    "one_column": ({"se_type": "2d"}, (51, 1), 1, 4),
    "swish": ({"activation": "swish", "gating_activation": "sigmoid"}, (33, 20), 5, 5),
    "relu6": ({"activation": "relu6", "se_type": "3d", "num_classes": 37}, (20, 33), 9, 4),
    # So wide that a block goes in bands of rows.
    "bands": ({}, (130, 347), 1, 3),
}
#: Those of SMALL with a float16 form.
HALF = ("odd", "relu6", "bands")


def write_small(name: str, folder: Path) -> Path:
    """Write one of SMALL; returns the .mvn file."""
    options, size, streams, frames = SMALL[name]
    model = make_model(tiny_stream(), **options)
    video = make_video(streams, frames, *size)
    logits = running_logits(model, video)
    # The smaller forms of the same network beside it.
    _write(folder / f"small_{name}_int8.mvn", model, video, logits, "dynamic")
    if name in HALF:
        _write(folder / f"small_{name}_half.mvn", model, video, logits, "float16")
    return _write(folder / f"small_{name}.mvn", model, video, logits)


def write_reference(name: str, folder: Path) -> Path:
    """Write one of REFERENCE; returns the .mvn file."""
    case = json.loads(gzip.decompress((CASES / "cases.json.gz").read_bytes()))[name]
    options = {field: case[field] for field in ("num_classes", "head_activation")}
    config = preset_config(f"{case['model_id']}_stream", **options)
    tensors = {key: weight(key, tuple(shape)) for key, shape in case["keys"].items()}
    model = MoViNet(config, initialize=False).eval()
    model.load_state_dict(tf_to_torch(tensors, config))
    video = torch.from_numpy(reference_video(tuple(case["shape"]))).permute(0, 4, 1, 2, 3)
    with np.load(CASES / f"{name}.npz") as data:
        return _write(folder / f"reference_{name}.mvn", model, video, data["frame_logits"])


def _write(
    path: Path,
    model: MoViNet,
    video: torch.Tensor,
    wanted: np.ndarray,
    quantization: Literal["none", "float16", "dynamic"] = "none",
) -> Path:
    """The files of a case: video (streams, 3, time, …), wanted (streams, time, classes)."""
    write_file(model, path, (video.shape[3], video.shape[4]), quantization)
    logits = run_engine(open_engine(path), video, [1] * video.shape[2])
    assert_near(logits, wanted, TOLERANCE[quantization])
    video.permute(2, 0, 3, 4, 1).contiguous().numpy().tofile(path.with_suffix(".f32"))
    np.save(path.with_suffix(".npy"), np.ascontiguousarray(logits.swapaxes(0, 1)))
    return path
