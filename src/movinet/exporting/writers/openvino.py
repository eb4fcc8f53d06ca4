"""Write a program as an OpenVINO model: an .xml file and its weights beside it, a .bin file."""

from __future__ import annotations

from pathlib import Path

from movinet.errors import MissingExtraError
from movinet.exporting.graph.program import Program
from movinet.runtime.engines.shared import channels_first
from movinet.runtime.manifest import Manifest

try:
    import onnx  # noqa: F401 - the graph is made with it
    import openvino
except ModuleNotFoundError:
    raise MissingExtraError("writing OpenVINO's .xml files", "openvino") from None


def write_openvino(program: Program, manifest: Manifest, path: Path) -> dict[str, int]:
    """Write an .xml file, and a .bin file of the same name.

    The graph is that of the .onnx file, as OpenVINO reads it.

    Args:
        program: The graph.
        manifest: Travels with it, in the model's rt_info as "movinet".
        path: The .xml file.

    Returns:
        See `Program.counts`.
    """
    from movinet.exporting.writers.onnx import make_model  # whose error names another extra

    manifest = channels_first(manifest)
    model = openvino.Core().read_model(make_model(program).SerializeToString(), b"")
    model.set_rt_info(manifest.to_json(), ["movinet"])
    openvino.save_model(model, path, compress_to_fp16=False)
    return program.counts()
