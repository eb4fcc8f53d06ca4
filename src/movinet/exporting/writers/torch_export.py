"""Write a program as a torch.export archive, for PyTorch and compilers that start from one."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from movinet.exporting.graph.interpreter import ProgramModule
from movinet.exporting.graph.program import Program
from movinet.runtime.manifest import Manifest

_TYPES = {"float32": torch.float32, "uint8": torch.uint8}


def write_torch_export(program: Program, manifest: Manifest, path: Path) -> dict[str, int]:
    """Write a .pt2 file.

    Args:
        program: The graph.
        manifest: Travels with it, as the archive's extra file "movinet.json".
        path: The file.

    Returns:
        See `Program.counts`.
    """
    exported = export_program(program)
    # They would be pickled, and the reader takes no pickles.
    exported.example_inputs = None
    with warnings.catch_warnings():
        # Constants that are parts of one tensor are no fault.
        warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)
        torch.export.save(exported, path, extra_files={"movinet.json": manifest.to_json()})
    return program.counts()


def export_program(program: Program, *, channels_first: bool = False) -> ExportedProgram:
    """The program as PyTorch's own graph; inputs and outputs are tuples in its order.

    Args:
        program: The graph.
        channels_first: 4-D states have PyTorch's order of dimensions.
    """
    module = ProgramModule(program, channels_first=channels_first).eval()
    batch = Dim("batch", min=1, max=4096)
    inputs, dynamic = [], []
    for name in program.inputs:
        value = program.values[name]
        shape, free = list(value.shape), {}
        if program.dynamic_batch and value.batch_axis is not None:
            shape[value.batch_axis] *= 2  # 1 would be taken for a constant
            free = {value.batch_axis: batch}
        example = torch.zeros(shape, dtype=_TYPES[value.dtype])
        if channels_first and name != "frames" and example.ndim == 4:
            example = example.permute(0, 3, 1, 2).contiguous()
        inputs.append(example)
        dynamic.append(free)
    with torch.no_grad():
        exported = torch.export.export(
            module, tuple(inputs), dynamic_shapes={"inputs": tuple(dynamic)}, strict=False
        )
    for node in exported.graph.nodes:  # where the code lies on this machine is nobody's business
        node.meta.pop("stack_trace", None)
    return exported
