"""What `make test` takes of products that only `make test-all` runs whole."""

from collections.abc import Sequence
from typing import Any

import pytest

from networks import PRESETS


def only(*in_gate: str, of: Sequence[str] = PRESETS) -> list[Any]:
    """Parameters: all of them, those that the gate does not need marked `nightly`.

    A preset is more than the options and kinds of layer that the tiny networks have only in its
    numbers of layers and channels, which differ most in a0 and a5.
    """
    assert set(in_gate) <= set(of)
    return [
        name if name in in_gate else pytest.param(name, marks=pytest.mark.nightly) for name in of
    ]
