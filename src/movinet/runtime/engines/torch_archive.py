"""Look into a torch.export archive before PyTorch does.

PyTorch's own reader trusts its file: it unpickles, evaluates expressions and calls any function
that the file names. So only what `movinet.exporting.writers.torch_export` writes is let through:
tensors as plain bytes, and a graph of arithmetic.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from movinet.errors import CheckpointError
from movinet.runtime.engines.shared import no_manifest
from movinet.runtime.manifest import MAX_BYTES, Manifest
from movinet.text import one_line

_MAX_SIZE, _MAX_GRAPH, _MAX_FILES = 2**31, 64 * 2**20, 4096
_GRAPH = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_MANIFEST = "extra/movinet.json"
#: What may lie in the archive, below its one folder.
_FILES = re.compile(
    r"data/weights/weight_\d+|archive_format|archive_version|byteorder|\.data/version"
    r"|\.data/serialization_id|"
    + "|".join(re.escape(name) for name in (_GRAPH, *_CONFIGS, _MANIFEST))
)
_OPERATIONS = {
    "torch.ops.aten._assert_tensor_metadata.default",
    "torch.ops.aten.add.Tensor",
    "torch.ops.aten.avg_pool2d.default",
    "torch.ops.aten.cat.default",
    "torch.ops.aten.conv2d.default",
    "torch.ops.aten.cos.default",
    "torch.ops.aten.div.Tensor",
    "torch.ops.aten.flatten.using_ints",
    "torch.ops.aten.floor.default",
    "torch.ops.aten.hardswish.default",
    "torch.ops.aten.linear.default",
    "torch.ops.aten.maximum.default",
    "torch.ops.aten.mean.dim",
    "torch.ops.aten.minimum.default",
    "torch.ops.aten.mul.Tensor",
    "torch.ops.aten.narrow.default",
    "torch.ops.aten.permute.default",
    "torch.ops.aten.relu6.default",
    "torch.ops.aten.reshape.default",
    "torch.ops.aten.sigmoid.default",
    "torch.ops.aten.sin.default",
    "torch.ops.aten.softmax.int",
    "torch.ops.aten.sub.Tensor",
    "torch.ops.aten.to.dtype",
    "torch.ops.aten.upsample_bilinear2d.vec",
}
#: A size that depends on the batch, as sympy writes it: sympy runs whatever is written there.
_EXPRESSION = re.compile(
    r"(?:Symbol|Mul|Add|Integer|positive|integer|nonnegative|True|'s\d+'|[\d(),=\s-])*"
)

_SIZE = r"L\['inputs'\]\[\d+\]\.size\(\)\[0\]"
#: That two inputs have the same batch; PyTorch runs these too.
_GUARD = re.compile(f"{_SIZE} == {_SIZE}")


def read_archive(path: Path, manifest: Manifest | None = None) -> Manifest:
    """The manifest of a .pt2 file that is safe to load, or the one that is given instead.

    Raises:
        CheckpointError: If it is not such a file, or holds anything that movinet does not write.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = _listed(path, archive)
            if manifest is None:
                if _MANIFEST not in files:
                    raise no_manifest(path)
                text = _read(path, archive, files[_MANIFEST], MAX_BYTES)
                manifest = Manifest.parse(text, str(path))
            for name in _CONFIGS:
                _check_config(path, _json(path, archive, files.get(name)))
            _check_graph(path, _json(path, archive, files.get(_GRAPH)))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        EOFError,
        RuntimeError,
        ValueError,
    ):
        # ValueError: a name that is said to be UTF-8 and is not
        raise CheckpointError(f"{path}: it is not a .pt2 file, or a broken one") from None
    return manifest


def _listed(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files by their names below the archive's folder; pickled ones are empty or refused."""
    entries = archive.infolist()
    if len(entries) > _MAX_FILES or sum(entry.file_size for entry in entries) > _MAX_SIZE:
        raise CheckpointError(f"{path}: it has more than {_MAX_FILES} files or {_MAX_SIZE} bytes")
    files = {entry.filename.partition("/")[2]: entry for entry in entries}
    folders = {entry.filename.partition("/")[0] for entry in entries}
    if len(folders) != 1 or len(files) != len(entries):
        raise CheckpointError(f"{path}: it is not a .pt2 file: it has not one folder of files")
    for name, entry in files.items():
        empty = name == "data/sample_inputs/model.pt" and entry.file_size == 0
        if not empty and not _FILES.fullmatch(name):
            raise _refused(path, f"the file {name}")
    return files


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    if entry.file_size > most:
        raise CheckpointError(f"{path}: {entry.filename} is larger than {most} bytes")
    return archive.read(entry)


def _json(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None) -> Any:
    if entry is None:
        raise CheckpointError(f"{path}: it is not a .pt2 file: its graph is not complete")
    try:
        return json.loads(_read(path, archive, entry, _MAX_GRAPH))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {entry.filename}: {one_line(error)}") from None


def _check_config(path: Path, config: Any) -> None:
    for holder, key, value in _walk(config):
        if key == "use_pickle" and value is not False:
            raise _refused(path, "a pickled tensor")
        if key == "path_name" and not re.fullmatch(r"weight_\d+", str(value)):
            raise _refused(path, f"data in {value!r}, beside {sorted(holder)}")


def _check_graph(path: Path, graph: Any) -> None:
    for _, key, value in _walk(graph):
        match key:
            case "target" if value not in _OPERATIONS:
                raise _refused(path, f"the operation {value!r}")
            case "expr_str" if not _EXPRESSION.fullmatch(str(value)):
                raise _refused(path, f"the expression {value!r}")
            case "guards_code":
                for guard in value:
                    if not _GUARD.fullmatch(str(guard)):
                        raise _refused(path, f"the condition {guard!r}")
            case "custom_obj_values" | "treespec_namedtuple_fields" if value:
                raise _refused(path, key)
            case "in_spec" | "out_spec":
                _check_structure(path, value)
            case _:
                pass


def _check_structure(path: Path, text: Any) -> None:
    """How arguments are nested: in tuples and dictionaries alone."""
    try:
        structure = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise _refused(path, f"the structure {text!r}") from None
    for _, key, value in _walk(structure):
        plain = value in (None, "builtins.tuple", "builtins.list", "builtins.dict")
        if (key == "type" and not plain) or (
            key == "context" and value not in ("null", "[]", None)
        ):
            raise _refused(path, f"arguments in {value!r}")


def _walk(value: Any) -> Iterator[tuple[Any, str, Any]]:
    """Every (object, key, value) of parsed JSON."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from ((item, key, inner) for key, inner in item.items())
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: it holds {one_line(what)}, which no export of movinet does")
