"""Every kind of file that may come from a stranger: how a good one is made, and how it is read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import movinet
from movinet.network.config import InputSpec, MoViNetConfig

#: Frames of what is read of a video, at most.
FRAMES = 2000
SPEC = InputSpec(image_size=32, short_side=36, frame_rate=5.0, num_frames=4)
FRAME = np.zeros((32, 32, 3), np.uint8)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: The file, with its suffix; or the one of several that belong together to read.
        make: Writes a good one, and what belongs to it, into a folder.
        read: Reads it as a user would, to the end.
        damaged: Names of the files that a stranger may have changed; by default the one.
        needs: Module without which there is none.
        memory: Bytes that reading may take.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    damaged: tuple[str, ...] = field(default=())
    needs: str = ""
    memory: int = 400 << 20


@cache
def network() -> Any:
    from networks import TINY, make_model

    config = MoViNetConfig(TINY, causal=True, factorized=True, se_type="2plus3d")
    return make_model(config)


def exported(path: Path) -> None:
    movinet.export(network(), path, input_spec=SPEC)


def step(path: Path, **options: Any) -> None:
    stream = movinet.load(path, **options).stream()
    stream(FRAME)
    stream(FRAME)
    stream.snapshot()


def hub(path: Path) -> None:
    from hub_tflite import write_hub
    from networks import make_model, tiny_stream

    write_hub(make_model(tiny_stream(se_type="2plus3d")), path)


def weights(path: Path) -> None:
    from movinet.weights.factory import load_model

    load_model(None, path)


def tflite_weights(path: Path) -> None:
    from movinet.checkpoints.tflite.weights import read_tflite_weights

    read_tflite_weights(path)


def saved(path: Path) -> None:
    from movinet.weights.saving import save_weights

    model = network()
    save_weights(path, model.state_dict(), config=model.config, input_spec=SPEC)


def pickled(path: Path, *, zipped: bool) -> None:
    import torch

    from networks import make_model

    torch.save(make_model("t0_base").state_dict(), path, _use_new_zipfile_serialization=zipped)


def checkpoint(path: Path) -> None:
    from movinet.checkpoints.tensorflow import write_tf_checkpoint

    names = [f"model/layer_with_weights-0/layer_with_weights-{i}/_conv/kernel" for i in range(9)]
    tensors = {
        f"{name}/.ATTRIBUTES/VARIABLE_VALUE": np.full((3, i), i, np.float32)
        for i, name in enumerate(names)
    }
    write_tf_checkpoint(path.with_suffix(""), tensors)


def archived(path: Path) -> None:
    import tarfile

    checkpoint(path.parent / "inner" / "c.index")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(path.parent / "inner", "inner")


def manifest_alone(path: Path) -> None:
    bare = path.with_suffix(".tflite")
    exported(bare)
    path.write_text(movinet.load(bare).manifest.to_json())
    data = bare.read_bytes()
    bare.write_bytes(data[: data.index(b"PK\x03\x04")])


def with_manifest(path: Path) -> None:
    step(path.with_suffix(".tflite"), manifest=path)


def snapshot(path: Path) -> None:
    model = path.with_suffix(".tflite")
    exported(model)
    stream = movinet.load(model).stream()
    stream(FRAME)
    stream.save(path)


def resumed(path: Path) -> None:
    movinet.load(path.with_suffix(".tflite")).open_stream(path)(FRAME)


def segments_run(path: Path) -> None:
    exported(path.with_suffix(".tflite"))
    video(path.with_suffix(".mp4"))
    segments_resumed(path)


def segments_resumed(path: Path) -> None:
    from movinet.segments import find_segments

    find_segments(path.with_suffix(".mp4"), path.with_suffix(".tflite"), resume=path)


def watch_run(path: Path) -> None:
    exported(path.with_suffix(".tflite"))
    video(path.with_suffix(".mp4"))
    watch_resumed(path)


def watch_resumed(path: Path) -> None:
    from movinet.events import Rule, Rules
    from movinet.live import Resume, watch
    from movinet.live.sinks import Sinks

    rules, resume = Rules(Rule(on=0.1, off=0.05, shortest=0.0)), Resume(path)
    with Sinks([str(path.with_suffix(".jsonl"))], sources=["a"], resume=resume) as sinks:
        source, model = f"a={path.with_suffix('.mp4')}", path.with_suffix(".tflite")
        results = watch(source, model, rules=rules, resume=resume, seconds=0.3)
        for result in results:
            sinks.send(result)
            break
        results.close()


def configuration(path: Path) -> None:
    from movinet.training.recipes import load_config, to_yaml

    path.write_text(to_yaml(load_config("a0_stream_cpu_test")))


def configured(path: Path) -> None:
    from movinet.training.recipes import load_any_config

    load_any_config(path)


RULES = """
only_listed = true
[default]
on = 0.6
off = 0.4
[classes."walk"]
on = 0.5
"""


def rules(path: Path) -> None:
    from movinet.events.rules import load_rules

    load_rules(path)


def video(path: Path) -> None:
    from video.synthetic import make_video, numbered

    make_video(path, [numbered(i) for i in range(8)])


def seen(path: Path) -> None:
    """All frames, as predict sees them, and what a data set asks for."""
    from movinet.video import VideoReader
    from movinet.video.media import VideoFile

    with VideoReader(path, frame_rate=5) as reader:
        for number, _ in enumerate(reader):
            assert number < FRAMES, "more frames than such a file can have"
    media = VideoFile(path, "NONE")
    start, end = media.extent()
    times = np.linspace(start, max(start, end), 3).tolist()
    for _ in media.frames(times, 1e-3, []):
        pass


def records(path: Path) -> None:
    from data_sets.records import example, jpeg, records

    context = {"clip/label/index": [1], "clip/label/text": [b"walk"], "image/frame_rate": [5.0]}
    records(path, [example(context, [jpeg(i) for i in range(4)]) for _ in range(2)])


def shard(path: Path) -> None:
    from data_sets.records import tar
    from video.synthetic import make_video, numbered

    clip = path.with_name("inner.mp4")
    make_video(clip, [numbered(i) for i in range(8)])
    members: dict[str, bytes | str] = {}
    for i in range(2):
        members[f"{i}.mp4"] = clip.read_bytes()
        members[f"{i}.json"] = json.dumps({"label": "walk", "start": 0.0, "end": 0.2})
    tar(path, members)
    clip.unlink()


def listed(path: Path, text: str) -> None:
    for name in ("a.mp4", "b.mp4"):
        video(path.parent / name)
    path.write_text(text)


CSV = "path,label,start,end,group\na.mp4,walk,0,0.2,x\nb.mp4,run,,,y\n"
JSONL = '{"path": "a.mp4", "labels": ["walk"], "start": 0}\n{"path": "b.mp4", "label": "run"}\n'
QUARANTINE = "a.mp4\tbroken\tno frames\nb.mp4\n"
KINETICS = "label,youtube_id,time_start,time_end,split\nwalk,a,0,1,train\nrun,b,0,1,train\n"


def opened(path: Path) -> None:
    """A data set, and some frames of its first samples."""
    from movinet.data.sources import open_data

    for sample in open_data(path).samples[:2]:
        start, end = sample.media.extent()
        times = np.linspace(start, max(start, end), 3).tolist()
        for _ in sample.media.frames(times, 1e-3, []):
            pass


def quarantined(path: Path) -> None:
    from movinet.data.quarantine import exclude
    from movinet.data.sources import open_data

    listed(path.with_name("list.csv"), CSV)
    exclude(open_data(path.with_name("list.csv")), path)


def zipped_again(path: Path) -> None:
    """A .pt whose records are stored anew, so that changed bytes pass the archive's checksums."""
    pickled(path, zipped=True)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))


KINDS: dict[str, Kind] = {
    "tflite": Kind("x.tflite", exported, step),
    "tflite-hub": Kind("hub.tflite", hub, step),
    "tflite-weights": Kind("hub.tflite", hub, tflite_weights),
    "onnx": Kind("x.onnx", exported, step, needs="onnxruntime", memory=1 << 30),
    "openvino": Kind("x.xml", exported, step, ("x.xml", "x.bin"), needs="openvino", memory=1 << 30),
    "torch-export": Kind("x.pt2", exported, step, memory=1 << 30),
    "native": Kind("x.mvn", exported, step, needs="movinet._native"),
    "manifest": Kind("x.json", manifest_alone, with_manifest),
    "snapshot": Kind("x.snapshot", snapshot, resumed),
    "watch-run": Kind("x.resume", watch_run, watch_resumed),
    "segments-run": Kind("x.resume", segments_run, segments_resumed),
    "safetensors": Kind("x.safetensors", saved, weights),
    "pt": Kind("x.pt", zipped_again, weights),
    "pth": Kind("x.pth", lambda path: pickled(path, zipped=False), weights),
    "checkpoint": Kind(
        "c.index", checkpoint, movinet.read_tf_checkpoint, ("c.index", "c.data-00000-of-00001")
    ),
    "archive": Kind("c.tar.gz", archived, movinet.read_tf_checkpoint, memory=64 << 20),
    "yaml": Kind("x.yaml", configuration, configured),
    "rules": Kind("x.toml", lambda path: path.write_text(RULES), rules),
    "mp4": Kind("x.mp4", video, seen),
    "mkv": Kind("x.mkv", video, seen),
    "tfrecord": Kind("x.tfrecord", records, opened),
    "shard": Kind("x.tar", shard, opened),
    "csv": Kind("x.csv", lambda path: listed(path, CSV), opened),
    "jsonl": Kind("x.jsonl", lambda path: listed(path, JSONL), opened),
    "kinetics": Kind("k.csv", lambda path: listed(path, KINETICS), opened),
    "quarantine": Kind(
        "q.txt", lambda path: path.write_text("a.mp4\tbroken\nb.mp4\n"), quarantined
    ),
}
