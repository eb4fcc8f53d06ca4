"""Write a program as an ExecuTorch file whose arithmetic XNNPACK does."""

# ExecuTorch is no part of the extra that checks run with.
# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path

from movinet.errors import MissingExtraError
from movinet.exporting.graph.program import Program
from movinet.exporting.writers.torch_export import export_program
from movinet.runtime.engines.executorch import quiet
from movinet.runtime.engines.shared import channels_first
from movinet.runtime.manifest import Manifest

try:
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
        from executorch.exir.passes import MemoryPlanningPass
except ModuleNotFoundError:
    raise MissingExtraError("writing .pte files", "executorch") from None


def write_executorch(program: Program, manifest: Manifest, path: Path) -> dict[str, int]:
    """Write a .pte file.

    Args:
        program: The graph.
        manifest: Travels with it, as what the method "movinet" returns, a string.
        path: The file.

    Returns:
        See `Program.counts`.
    """
    manifest = channels_first(manifest)
    exported = export_program(program, channels_first=True)
    with quiet():
        lowered = to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner()],
            constant_methods={"movinet": manifest.to_json()},
        )
        # Inputs are read where the caller has them, not copied into planned memory.
        planning = MemoryPlanningPass(alloc_graph_input=False)
        finished = lowered.to_executorch(ExecutorchBackendConfig(memory_planning_pass=planning))
    path.write_bytes(finished.buffer)
    return program.counts()
