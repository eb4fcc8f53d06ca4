"""The formats of exported models: one row each, which everything that names a format reads."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from movinet.errors import ConfigError

#: What `quantize` may be, in any format.
QUANTIZATIONS = ("float16", "dynamic", "int8", "mixed")


@dataclass(frozen=True)
class Format:
    """A format of exported models.

    Attributes:
        suffix: Of the file's name.
        title: What runs it.
        engine: ``module:class`` that runs it, loaded when a file is opened.
        writer: ``module:function`` that writes it, loaded when a model is exported.
        package: Python distribution that runs it, whose version benchmarks state.
        module: Module without which nothing runs it.
        extra: Extra of movinet that writes and runs it, besides `export`; "" for none.
        beside: Suffixes of the files of the same name that belong to a file.
        content: What the writer takes: the graph of operations, or the folded network, for an
            engine with a graph of its own.
        base_models: Whether it holds base models (clips) too, not only streams.
        any_batch: Whether it holds streams in any number.
        resizes: Whether the file can resize frames itself.
        quantizations: What `quantize` may be.
        short: The title in benchmarks, if it is another.
    """

    suffix: str
    title: str
    engine: str
    writer: str
    package: str
    module: str
    extra: str = ""
    beside: tuple[str, ...] = ()
    content: Literal["graph", "network"] = "graph"
    base_models: bool = True
    any_batch: bool = True
    resizes: bool = True
    quantizations: tuple[str, ...] = QUANTIZATIONS
    short: str = ""

    def files(self, path: Path) -> list[Path]:
        """All files of the model at `path`."""
        return [path, *(path.with_suffix(suffix) for suffix in self.beside)]

    def load_engine(self) -> Any:
        """The class that runs files; see `movinet.runtime.engine.Engine`."""
        return _load(self.engine)

    def load_writer(self) -> Callable[..., Any]:
        """The function that writes files.

        Raises:
            MissingExtraError: If it needs what is not installed.
        """
        return _load(self.writer)

    @property
    def installed(self) -> bool:
        """Whether what runs it is installed."""
        return importlib.util.find_spec(self.module) is not None

    def check(
        self,
        *,
        base_model: bool = False,
        any_batch: bool = False,
        resizes: bool = False,
        quantize: str | None = None,
    ) -> None:
        """Raise ConfigError if a file of this format cannot be what is asked for."""
        files = f"{self.suffix} files"
        if base_model and not self.base_models:
            raise ConfigError(f"{files} hold stream models only: export base models as .tflite")
        if any_batch and not self.any_batch:
            raise ConfigError(f"{files} need a fixed batch_size, not a free one")
        if resizes and not self.resizes:
            raise ConfigError(f"{files} cannot resize frames: omit source_size")
        if quantize is not None and quantize not in self.quantizations:
            instead = " or ".join(repr(name) for name in self.quantizations)
            raise ConfigError(
                f"{files} cannot be quantized with {quantize!r}: omit quantize"
                + (f", or use {instead}" if instead else "")
            )


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


_ENGINES, _WRITERS = "movinet.runtime.engines", "movinet.exporting.writers"
#: By suffix, in the order in which they are listed.
FORMATS = {
    row.suffix: row
    for row in (
        Format(
            ".tflite",
            "LiteRT",
            f"{_ENGINES}.litert:LiteRTEngine",
            f"{_WRITERS}.litert:write_litert",
            package="ai-edge-litert",
            module="ai_edge_litert",
        ),
        Format(
            ".onnx",
            "ONNX Runtime",
            f"{_ENGINES}.onnx:OnnxEngine",
            f"{_WRITERS}.onnx:write_onnx",
            package="onnxruntime",
            module="onnxruntime",
            extra="onnx",
        ),
        Format(
            ".xml",
            "OpenVINO",
            f"{_ENGINES}.openvino:OpenVinoEngine",
            f"{_WRITERS}.openvino:write_openvino",
            package="openvino",
            module="openvino",
            extra="openvino",
            beside=(".bin",),
        ),
        Format(
            ".pte",
            "ExecuTorch",
            f"{_ENGINES}.executorch:ExecuTorchEngine",
            f"{_WRITERS}.executorch:write_executorch",
            package="executorch",
            module="executorch",
            extra="executorch",
            any_batch=False,
            quantizations=(),
        ),
        Format(
            ".pt2",
            "PyTorch",
            f"{_ENGINES}.torch_export:TorchExportEngine",
            f"{_WRITERS}.torch_export:write_torch_export",
            package="torch",
            module="torch",
            quantizations=(),
            short="torch.export",
        ),
        Format(
            ".mvn",
            "movinet's own engine",
            f"{_ENGINES}.native:NativeEngine",
            f"{_WRITERS}.native:write_native",
            package="movinet",
            module="movinet._native",
            content="network",
            base_models=False,
            resizes=False,
            quantizations=("float16", "dynamic"),
            short="movinet",
        ),
    )
}


def listed() -> str:
    """The formats in one line: ``.tflite (LiteRT), .onnx (ONNX Runtime), …``."""
    return ", ".join(f"{row.suffix} ({row.title})" for row in FORMATS.values())
