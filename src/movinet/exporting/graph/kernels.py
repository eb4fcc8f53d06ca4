"""Convolutions of a program for formats that have channels before rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.exporting.graph.program import Op, Program
from movinet.network.geometry import same_padding


def arrange_kernel(
    program: Program, op: Op, kernel: NDArray[Any]
) -> tuple[NDArray[Any], tuple[int, int]]:
    """A kernel in another order, and the padding that goes with it.

    Where SAME padding has one more row or column at the end, a leading zero in the kernel makes it
    the same at both: PyTorch has no other, nor has WebGPU, and a padded copy of the frames costs
    more.

    Args:
        program: The graph.
        op: A "conv" or "depthwise".
        kernel: As the program has it.

    Returns:
        (outputs, inputs of each group, rows, columns), and the padding of rows and columns.
    """
    kernel = kernel.transpose((3, 0, 1, 2) if op.kind == "depthwise" else (0, 3, 1, 2))
    if op.attributes.get("padding", "SAME") == "VALID":
        return kernel, (0, 0)
    x, stride = program.values[op.inputs[0]], op.attributes["stride"]
    rows = same_padding(x.shape[1], kernel.shape[2], stride)
    columns = same_padding(x.shape[2], kernel.shape[3], stride)
    odd = [(after - before, 0) for before, after in (rows, columns)]
    return np.pad(kernel, [(0, 0), (0, 0), *odd]), (rows[1], columns[1])
