"""Run .pt2 files, torch.export's archives, with PyTorch.

A stream's state is a set of tensors: what a step gives out is what the next one takes in, and
nothing of it is copied. The frames are read where they lie; the prediction is copied once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from movinet.errors import MissingExtraError
from movinet.runtime.engines.shared import check_fit, not_loaded
from movinet.runtime.engines.torch_archive import read_archive
from movinet.runtime.engines.torch_tensors import TensorEngine
from movinet.runtime.manifest import Manifest


class TorchExportEngine(TensorEngine):
    """One .pt2 file behind the engine protocol."""

    channels_first = False
    reentrant = False
    joins = False

    @classmethod
    def open(
        cls, path: Path, *, num_threads: int = 1, manifest: Manifest | None = None
    ) -> TorchExportEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Threads of one step; PyTorch has one number for the whole process.
            manifest: Taken instead of the one inside.

        Raises:
            CheckpointError: If it is not a .pt2 file of movinet.
            MissingExtraError: If PyTorch is not installed.
        """
        try:
            import torch
        except ModuleNotFoundError:
            raise MissingExtraError("running .pt2 files", "torch") from None
        manifest = read_archive(path, manifest)
        try:
            with _silent():
                program = torch.export.load(path)
                graph = program.module()
        except Exception as error:  # whatever its reader stumbles upon
            raise not_loaded(path, "PyTorch", error) from None
        inputs, outputs = _tensors(program)
        check_fit(
            path,
            manifest,
            dict(zip((spec.name for spec in manifest.inputs), inputs, strict=False)),
            dict(zip((spec.name for spec in manifest.outputs), outputs, strict=False)),
        )
        torch.set_num_threads(num_threads)
        return cls(manifest, lambda inputs: graph(*inputs))


def _tensors(program: Any) -> tuple[list[Any], list[Any]]:
    """Shapes and types of a program's inputs and outputs, in its order."""
    signature = program.graph_signature
    nodes = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}

    def described(name: str) -> tuple[list[Any], str]:
        value = nodes[name]
        return list(value.shape), str(value.dtype).removeprefix("torch.")

    return (
        [described(name) for name in signature.user_inputs],
        [described(name) for name in signature.user_outputs],
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the traceback that PyTorch logs of a file that it cannot read, and then raises."""
    log = logging.getLogger("torch.export")
    log.addFilter(_nothing)
    try:
        yield
    finally:
        log.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False
