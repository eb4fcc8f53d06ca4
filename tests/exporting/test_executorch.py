"""ExecuTorch files: they do what the model does, and say what they are."""

from pathlib import Path

import pytest

import movinet
from exported_formats import BASE, SPEC, STREAM, check_engine, export, export_preset, refused
from gate import only
from movinet.errors import ConfigError

pytest.importorskip(
    "executorch", reason="needs ExecuTorch, 500 MB: pip install 'movinet[executorch]'"
)
pytestmark = pytest.mark.heavy  # lowering takes seconds for the smallest network


@pytest.mark.parametrize(
    "options",
    [
        {"num_frames": 3, "batch_size": 2, "softmax": True, "uint8": False},
        {"source_size": (60, 45)},
    ],
)
def test_streams_export_with_every_option(options, tmp_path: Path) -> None:
    done = export(STREAM, tmp_path / "x.pte", **options)
    assert done.agreement.steps > 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.pte"]


def test_base_models_export_as_clips(tmp_path: Path) -> None:
    assert export(BASE, tmp_path / "x.pte", batch_size=2).agreement.error < 1e-4


@pytest.mark.parametrize("name", only("a0_stream"))
def test_every_preset_exports(name: str, tmp_path: Path) -> None:
    assert export_preset(name, tmp_path / "x.pte").agreement.error < 1e-4


def test_streams_keep_to_themselves_and_the_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.pte"
    export(STREAM, path)
    check_engine(path)
    assert movinet.load(path).manifest.input == SPEC
    assert str(Path(movinet.__file__).parent).encode() not in path.read_bytes()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'{"movinet": 1,', b'{"m0vinet": 1,'))
    refused(path, "its movinet manifest is broken")
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "ExecuTorch cannot load it")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pte").write_bytes(b"no program")
    refused(tmp_path / "x.pte", "ExecuTorch cannot load it")


@pytest.mark.parametrize("options", [{"batch_size": None}, {"quantize": "float16"}])
def test_what_the_format_does_not_hold_is_refused(options, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.pte file"):
        export(STREAM, tmp_path / "x.pte", **options)
    assert not list(tmp_path.iterdir())
