"""ExecuTorch files: they do what the model does, and say what they are."""

from pathlib import Path

import pytest

from exported_formats import STREAM, export, refused

pytest.importorskip(
    "executorch", reason="needs ExecuTorch, 500 MB: pip install 'movinet[executorch]'"
)
pytestmark = pytest.mark.heavy  # lowering takes seconds for the smallest network


def test_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pte"
    export(STREAM, path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'{"movinet": 1,', b'{"m0vinet": 1,'))
    refused(path, "its movinet manifest is broken")
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "ExecuTorch cannot load it")
