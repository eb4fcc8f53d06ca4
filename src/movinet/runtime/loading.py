"""Open an exported file with the engine that runs it."""

from __future__ import annotations

import os
from pathlib import Path

from movinet.embedded import EMBEDDED, exported_path
from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.files import file_path, model_path
from movinet.runtime.engines.shared import not_loaded
from movinet.runtime.exported import ExportedRuntime
from movinet.runtime.formats import FORMATS
from movinet.runtime.manifest import Manifest

MAX_THREADS = 1024


def file_size(path: Path) -> int:
    """Bytes of an exported model, with the files that belong to it."""
    row = FORMATS.get(path.suffix)
    return sum(file.stat().st_size for file in (row.files(path) if row else [path]))


def load(
    path: str | os.PathLike[str],
    *,
    num_threads: int = 1,
    manifest: str | os.PathLike[str] | None = None,
) -> ExportedRuntime:
    """Open an exported model: a file that `movinet.export` made, or the bundled model.

    `movinet.open_model` opens presets and files of weights too.

    Args:
        path: The file; its suffix determines the engine: .tflite (LiteRT), .onnx (ONNX Runtime),
            .xml (OpenVINO), .pte (ExecuTorch), .pt2 (PyTorch), .mvn (movinet's own). Or "motions",
            the bundled model.
        num_threads: Threads of one step. One is best for many streams at once, and often for one.
        manifest: A file with the manifest, for a model that has lost its own: what ``movinet info
            --json`` prints of the same export. Used instead of the one inside, if there is one;
            the graph has to fit it.

    Returns:
        A runtime: `stream()` for stream models, `clip_logits()` for base ones; `movinet.predict`
        takes it too.

    Raises:
        CheckpointError: If the file is missing, broken or none of movinet's; or the manifest is,
            or tells of another graph.
        MissingExtraError: If its engine is not installed.
        ConfigError: If no engine has this suffix, or an argument is none of those.
    """
    if isinstance(path, str) and path in EMBEDDED:
        path = exported_path(path)
    path = model_path(path)
    if path.suffix not in FORMATS:
        raise ConfigError(
            f"{path}: an exported model ends in one of {', '.join(FORMATS)}, or is "
            f"{', '.join(EMBEDDED)}, the bundled one; movinet.open_model opens presets and weights"
        )
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    is_number = isinstance(num_threads, int) and not isinstance(num_threads, bool)
    if not is_number or not 1 <= num_threads <= MAX_THREADS:
        raise ConfigError(
            f"num_threads must be an integer from 1 to {MAX_THREADS}, not {num_threads!r}"
        )
    engine = FORMATS[path.suffix].load_engine()
    given = None if manifest is None else Manifest.read(file_path(manifest))
    try:
        opened = engine.open(path, num_threads=num_threads, manifest=given)
    except MovinetError:
        raise
    except Exception as error:  # each engine has exceptions of its own, and asks them of any file
        raise not_loaded(path, "its engine", error) from error
    return ExportedRuntime(opened, str(path))
