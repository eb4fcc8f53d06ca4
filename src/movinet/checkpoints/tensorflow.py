"""Reading and writing TensorFlow checkpoints without TensorFlow."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from movinet.checkpoints import sources
from movinet.checkpoints.bundle import Bundle, read_index, stored_form, write_bundle
from movinet.checkpoints.hub import is_positional, ordinary_keys
from movinet.checkpoints.keys import SUFFIX
from movinet.checkpoints.object_graph import GRAPH_KEY, read_names, write_graph
from movinet.checkpoints.sources import Files
from movinet.checkpoints.wire import FormatError, shown
from movinet.errors import CheckpointError
from movinet.files import temporary_name

_PART = re.compile(r"(?:\.index|\.data-\d{5}-of-\d{5})$")
_LATEST = re.compile(r'^\s*model_checkpoint_path:\s*"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
#: How a text protobuf writes a string.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_MAX_LATEST_BYTES = 1 << 20
_MODEL, _KERAS_ROOT = "model/", "layer_with_weights-"
_SAVE_COUNTER = f"save_counter{SUFFIX}"


def read_tf_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The weights in a TensorFlow checkpoint of a MoViNet; no TensorFlow needed.

    Only the network's own tensors are returned: what training keeps beside them (optimizers and
    their slots, moving averages of weights, step and save counters, metrics) is left out.

    Args:
        path: One of

            - a folder: the checkpoint that the text file ``checkpoint`` in it calls the latest,
              else the only one there; or a SavedModel as TensorFlow Hub has them, whose tensors
              get the keys of an ordinary checkpoint in the published layout,
            - a prefix such as ``folder/ckpt-1``, or one of the files of that name,
            - a .tar or .tar.gz of one of these folders.

    Returns:
        Checkpoint key -> tensor, in the checkpoint's order (sorted keys). Keys start with
        ``model/`` and end with ``/.ATTRIBUTES/VARIABLE_VALUE``, shapes are TensorFlow's: see
        `movinet.checkpoints.keys`. Types are kept, but bfloat16, which becomes float32.

    Raises:
        CheckpointError: If there is no checkpoint at `path` or several, if a file is damaged, cut
            off, or holds no MoViNet, or if an archive is not safe to unpack.
        MissingExtraError: If google-crc32c is not installed (``pip install 'movinet[torch]'``).
    """
    with sources.blame(str(path)):
        files, prefix = _locate(Path(path))
    bundle = read_index(files, prefix)
    if positional := [key for key in bundle.tensors if is_positional(key)]:
        return _read_hub(bundle, positional)
    keys = _network_keys(bundle.tensors)
    if not keys:
        found = ", ".join(shown(key) for key in list(bundle.tensors)[:3]) or "nothing"
        raise CheckpointError(
            f"{bundle.files.describe(bundle.prefix + '.index')}: no network in it: keys should "
            f"start with model/layer_with_weights-0, as tf.train.Checkpoint(model=model) names "
            f"them; found {found}"
        )
    arrays = bundle.arrays(keys.values())
    return {key: arrays[stored] for key, stored in keys.items()}


def write_tf_checkpoint(
    path_prefix: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a checkpoint that ``tf.train.Checkpoint(model=model).restore(prefix)`` takes.

    Writes ``prefix.index``, ``prefix.data-00000-of-00001`` and, beside them, the text file
    ``checkpoint`` that names it the latest one. Each is replaced whole or not at all.

    Args:
        path_prefix: What the names of the files start with, such as ``folder/ckpt-1``; the folder
            is made where it is missing.
        tensors: Key -> tensor, as `read_tf_checkpoint` returns them.

    Raises:
        CheckpointError: If a key or a type cannot be stored, or a file cannot be written.
        MissingExtraError: If google-crc32c is not installed.
    """
    prefix = Path(path_prefix)
    if not prefix.name:
        raise CheckpointError(f"{prefix} is no name for files; give one such as folder/ckpt-1")
    arrays = {key: _storable(prefix, key, value) for key, value in tensors.items()}
    arrays.setdefault(_SAVE_COUNTER, np.asarray(1, np.int64))
    graph = write_graph(sorted(arrays))
    name = prefix.name.translate(_ESCAPES)
    latest = f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
    data, index, checkpoint = finals = (
        prefix.with_name(f"{prefix.name}.data-00000-of-00001"),
        prefix.with_name(f"{prefix.name}.index"),
        prefix.with_name("checkpoint"),
    )
    temporary = {final: temporary_name(final, ".tmp") for final in finals}
    try:
        if taken := [str(final) for final in finals if final.is_dir()]:
            raise CheckpointError(f"{taken[0]} is a folder; choose another name for the checkpoint")
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with temporary[data].open("xb") as data_file, temporary[index].open("xb") as index_file:
            write_bundle(index_file, data_file, arrays, {GRAPH_KEY: graph})
        temporary[checkpoint].write_text(latest, encoding="utf-8")
        for final in finals:
            temporary[final].replace(final)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{prefix}: cannot be written ({reason})") from None
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError, ValueError):  # the first error is the one to tell
                path.unlink()


def _read_hub(bundle: Bundle, positional: list[str]) -> dict[str, np.ndarray]:
    """The tensors of a SavedModel, under the keys of an ordinary checkpoint."""
    index = bundle.files.describe(f"{bundle.prefix}.index")
    names: dict[str, str] = {}
    if GRAPH_KEY in bundle.tensors:
        graph = bundle.string(GRAPH_KEY)
        with sources.blame(f"{index}: object graph"):
            names = read_names(graph)
    shapes = {key: bundle.tensors[key].shape for key in positional}
    keys = ordinary_keys(shapes, names, index)
    arrays = bundle.arrays(positional)
    return dict(sorted((keys[stored], array) for stored, array in arrays.items()))


def _network_keys(keys: Iterable[str]) -> dict[str, str]:
    """Of a checkpoint's keys those of the network and not of its training: full key -> key.

    ``model.save_weights`` of Keras and some SavedModels leave out the ``model/`` in front.
    """
    training = {".OPTIMIZER_SLOT", "keras_api", "optimizer"}
    weights = [k for k in keys if k.endswith(SUFFIX) and not training & set(k.split("/"))]
    return {key: key for key in weights if key.startswith(_MODEL)} or {
        _MODEL + key: key for key in weights if key.startswith(_KERAS_ROOT)
    }


def _storable(prefix: Path, key: str, value: np.ndarray) -> np.ndarray:
    parts = key.removesuffix(SUFFIX).split("/")
    if not key.endswith(SUFFIX) or not all(parts) or any("." in part for part in parts):
        raise CheckpointError(
            f"{prefix}: cannot write {shown(key)}: keys are names joined by '/', none with a dot, "
            f"and {SUFFIX} at the end"
        )
    try:
        return stored_form(np.asarray(value))
    except FormatError as error:
        raise CheckpointError(f"{prefix}: cannot write {shown(key)}: {error}") from None


def _locate(path: Path) -> tuple[Files, str]:
    """The files and the prefix of the checkpoint that a path means."""
    if path.is_dir():
        found = sources.folder(path)
        return found, _choose(found)
    if path.name.endswith(sources.ARCHIVE_SUFFIXES) and path.is_file():
        found = sources.archive(path)
        return found, _choose(found)
    prefix = _PART.sub("", path.name)
    if path.parent.is_dir() and prefix:
        found = sources.folder(path.parent)
        if f"{prefix}.index" in found.contents:
            return found, prefix
        near = _prefixes(found)
        hint = f"; beside it there is {_listed(near)}" if near else ""
        if path.is_file():
            raise CheckpointError(
                f"{path}: no file of weights: these are .safetensors, .pt, .tflite or a TensorFlow "
                f"checkpoint (folder, prefix, .index, .tar.gz){hint}"
            )
        raise CheckpointError(f"{path}: no checkpoint of this name{hint}")
    raise CheckpointError(f"{path}: no such file or folder")


def _choose(files: Files) -> str:
    """The prefix of the checkpoint in a folder: the latest, or the only one."""
    prefixes = _prefixes(files)
    if not prefixes:
        raise CheckpointError(
            f"{files.label}: no checkpoint in it: an .index file and .data files belong together"
        )
    top = min(len(PurePosixPath(prefix).parts) for prefix in prefixes)
    prefixes = [prefix for prefix in prefixes if len(PurePosixPath(prefix).parts) == top]
    folders = {str(PurePosixPath(prefix).parent) for prefix in prefixes}
    if len(folders) == 1:
        latest = str(PurePosixPath(folders.pop()) / "checkpoint")
        if latest in files.contents:
            return _latest(files, latest, prefixes)
        if len(prefixes) == 1:
            return prefixes[0]
    raise CheckpointError(
        f"{files.label}: several checkpoints: {_listed(prefixes)}; give one of them"
    )


def _latest(files: Files, name: str, prefixes: list[str]) -> str:
    """The prefix that a text file ``checkpoint`` names; its folder, if any, is not looked at."""
    found = _LATEST.search(files.read(name, _MAX_LATEST_BYTES).decode(errors="replace"))
    if not found:
        raise CheckpointError(
            f"{files.describe(name)}: it names no checkpoint; give one of {_listed(prefixes)}"
        )
    try:  # text protobufs write bytes beyond ASCII, quotes and backslashes as C does
        value = found[1].encode().decode("unicode_escape").encode("latin-1").decode()
    except UnicodeError:
        value = found[1]
    prefix = str(PurePosixPath(name).parent / PurePosixPath(value).name)
    if prefix not in prefixes:
        raise CheckpointError(
            f"{files.describe(name)}: it names {shown(value)}, which is not there; "
            f"give one of {_listed(prefixes)}"
        )
    return prefix


def _prefixes(files: Files) -> list[str]:
    return sorted(name.removesuffix(".index") for name in files.contents if name.endswith(".index"))


def _listed(prefixes: list[str]) -> str:
    return ", ".join(prefixes[:5]) + (", ..." if len(prefixes) > 5 else "")
