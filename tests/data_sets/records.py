"""Writing small data sets: videos, shards, and TFRecords by protobuf and TensorBoard's writer."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image as Pictures
from tensorboard.summary.writer.record_writer import RecordWriter

from video.synthetic import make_video, numbered


def video(path: Path, first: int = 0, count: int = 8) -> Path:
    """A video of 25 frames a second that shows the numbers from `first` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_video(path, [numbered(first + i) for i in range(count)])


def tar(path: Path, members: Mapping[str, bytes | str]) -> Path:
    """An archive with some members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def jpeg(number: int) -> bytes:
    """A picture that shows a number."""
    file = io.BytesIO()
    Pictures.fromarray(numbered(number)).save(file, "JPEG", quality=95)
    return file.getvalue()


def example(context: Mapping[str, Sequence[Any]], images: Sequence[bytes] = ()) -> bytes:
    """A SequenceExample: the values of its context, and its sequence of images."""
    message = _SEQUENCE_EXAMPLE()
    for key, values in context.items():
        _fill(message.context.feature[key], values)
    for image in images:
        _fill(message.feature_lists.feature_list["image/encoded"].feature.add(), [image])
    return message.SerializeToString()


def records(path: Path, examples: Sequence[bytes]) -> Path:
    """A file of TFRecords."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for each in examples:
            writer.write(each)
    return path


def clip(label: int, first: int = 0, count: int = 5) -> bytes:
    """A SequenceExample as the reference has them."""
    return example({"clip/label/index": [label]}, [jpeg(first + i) for i in range(count)])


def _fill(feature: Any, values: Sequence[Any]) -> None:
    kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(values[0])]
    getattr(feature, kind).value.extend(values)


def _sequence_example() -> Any:
    """The message, as TensorFlow's example.proto and feature.proto describe it."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, str | int, bool]) -> Any:
        made = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            added = made.field.add(name=field, number=number)
            added.label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
            if isinstance(kind, int):
                added.type = kind  # type: ignore[assignment]
            else:
                added.type, added.type_name = types.TYPE_MESSAGE, f".t.{kind}"
        return made

    def mapping(name: str, field: str, value: str) -> None:
        entry = "".join(part.title() for part in field.split("_")) + "Entry"
        outer = message(name, (field, 1, f"{name}.{entry}", True))
        inner = message(entry, ("key", 1, types.TYPE_STRING, False), ("value", 2, value, False))
        inner.options.map_entry = True
        outer.nested_type.add().CopyFrom(inner)
        file.message_type.remove(inner)

    message("BytesList", ("value", 1, types.TYPE_BYTES, True))
    message("FloatList", ("value", 1, types.TYPE_FLOAT, True))
    message("Int64List", ("value", 1, types.TYPE_INT64, True))
    kinds = ("BytesList", "FloatList", "Int64List")
    names = ("bytes_list", "float_list", "int64_list")
    message("Feature", *((names[i], i + 1, kinds[i], False) for i in range(3)))
    message("FeatureList", ("feature", 1, "Feature", True))
    mapping("Features", "feature", "Feature")
    mapping("FeatureLists", "feature_list", "FeatureList")
    message(
        "SequenceExample",
        ("context", 1, "Features", False),
        ("feature_lists", 2, "FeatureLists", False),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.SequenceExample"))


_SEQUENCE_EXAMPLE = _sequence_example()
