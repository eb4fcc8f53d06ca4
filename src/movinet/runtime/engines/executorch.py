"""Run .pte files with ExecuTorch.

ExecuTorch's Python package gives copies of its outputs, and a stream hands these on as they are: so
whatever a step renews of the state is copied once. The engine reads inputs where they lie.
"""

# ExecuTorch is no part of the extra that checks run with.
# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from movinet.errors import CheckpointError, MissingExtraError
from movinet.runtime.engines.shared import check_fit, no_manifest, not_loaded
from movinet.runtime.engines.torch_tensors import TensorEngine
from movinet.runtime.manifest import Manifest

#: ExecuTorch's numbers of types.
_TYPES = {0: "uint8", 6: "float32"}
#: Streams are redirected for the whole process: two threads would restore each other's.
_SILENCE = threading.RLock()


class ExecuTorchEngine(TensorEngine):
    """One .pte file behind the engine protocol."""

    channels_first = True
    reentrant = False
    joins = False

    def __init__(self, program: Any, manifest: Manifest) -> None:
        # A method lives no longer than its program.
        self._program = program
        super().__init__(manifest, program.load_method("forward").execute)

    @classmethod
    def open(
        cls, path: Path, *, num_threads: int = 1, manifest: Manifest | None = None
    ) -> ExecuTorchEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Threads of one step; ExecuTorch has one number for the whole process.
            manifest: Taken instead of the one inside.

        Raises:
            CheckpointError: If it is not a .pte file of movinet.
            MissingExtraError: If ExecuTorch is not installed.
        """
        with quiet():
            try:
                from executorch.extension.pybindings import portable_lib
                from executorch.runtime import Runtime
            except ModuleNotFoundError:
                raise MissingExtraError("running .pte files", "executorch") from None
            try:
                program: Any = Runtime.get().load_program(path)
                names = program.method_names
            except Exception as error:  # ExecuTorch's exceptions have no base class of their own
                raise not_loaded(path, "ExecuTorch", error) from None
            if manifest is None and "movinet" not in names:
                raise no_manifest(path)
            if "forward" not in names:
                raise CheckpointError(f"{path}: its program has no method 'forward'")
            try:
                if manifest is None:
                    (text,) = program.load_method("movinet").execute([])
                    manifest = Manifest.parse(text, str(path))
                described = program.metadata("forward")
                check_fit(path, manifest, *_tensors(described, manifest))
                portable_lib._unsafe_reset_threadpool(num_threads)
                return cls(program, manifest)
            except RuntimeError as error:
                raise not_loaded(path, "ExecuTorch", error) from None


def _tensors(described: Any, manifest: Manifest) -> Iterator[dict[str, tuple[Any, str]]]:
    """Inputs, then outputs, by the manifest's names, in the file's order."""
    for specs, count, meta in (
        (manifest.inputs, described.num_inputs(), described.input_tensor_meta),
        (manifest.outputs, described.num_outputs(), described.output_tensor_meta),
    ):
        tensors = {}
        for i in range(count):
            name = specs[i].name if i < len(specs) else f"number {i}"
            dtype = meta(i).dtype()
            tensors[name] = (tuple(meta(i).sizes()), _TYPES.get(dtype, str(dtype)))
        yield tensors


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what ExecuTorch and its packages warn and log of themselves; one thread at a time."""
    with (
        _SILENCE,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
