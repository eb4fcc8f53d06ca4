"""State dicts in files of `torch.save`, read as tensors alone: nothing in a file is run."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from movinet.errors import CheckpointError
from movinet.text import one_line

#: How such a file starts: as an archive, or in the form of before PyTorch 1.6.
_MAGIC = (b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19")
#: Where training programs keep the state dict among other things; what comes first is taken.
_PLACES = ("ema_weights", "state_dict", "model_state_dict", "model_state", "model")
_AVERAGED = "ema_weights"
#: Classes of https://github.com/cmusatyalab/grw-smoothing, of which its published files hold
#: settings beside the tensors: read as empty objects and thrown away.
_GRW = "grw_smoothing_models."
_GRW_CLASSES = (
    f"{_GRW}model.attention.TransformerParams",
    *(
        f"{_GRW}backbones.movinets.{name}.{name}_backbone.MovinetBackbone"
        for name in ("a0s", "a1s", "a2s", "a3b")
    ),
)
_GLOBAL = re.compile(r"Unsupported global: GLOBAL (\S{1,200})")
_MODULES = ("torch.nn.", "movinet.network.model.", "movinet.network.ensemble.")


class _Ignored:
    """Stands for an object of a class that is not here; takes whatever a file says of it."""

    def __new__(cls, *_: Any) -> _Ignored:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def is_torch_file(path: Path) -> bool:
    """Whether a file starts as `torch.save` lets it start, whatever it is called.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(max(map(len, _MAGIC))).startswith(_MAGIC)


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file of `torch.save`, with the names that they have there.

    Returns:
        Name -> tensor, without gradients and hooks; and what to know about the choice.

    Raises:
        CheckpointError: If the file is broken, would run code, or holds no state dict.
    """
    value, notes = _load(path), []
    for place in _PLACES:
        if isinstance(value, dict) and isinstance(value.get(place), dict):
            value = value[place]
            if place == _AVERAGED:
                notes.append(f"of the weights in {path.name} the averaged ones ({place}) are taken")
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    ):
        raise CheckpointError(f"{path}: contains no dictionary of tensors")
    # Of pickled tensors nothing but the numbers: no gradients, hooks or attributes.
    return {name: Tensor.detach(tensor) for name, tensor in value.items()}, notes


def _load(path: Path) -> Any:
    inert: list[Any] = [(_Ignored, name) for name in _GRW_CLASSES]
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch never packs, but unpacks what is
                if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
                    raise ValueError("it unpacks to more bytes than it has")
        with warnings.catch_warnings(), torch.serialization.safe_globals(inert):
            warnings.simplefilter("ignore")  # of torch about old forms: the file is not ours
            return torch.load(path, map_location="cpu", weights_only=True)
    # Foreign bytes drive an interpreter of pickle's instructions, which fails in any way it can:
    # IndexError, AttributeError, AssertionError, TypeError, ... have been seen of damaged files.
    except Exception as error:
        raise CheckpointError(f"{path}: {_why_not_loaded(error)}") from None


def _why_not_loaded(error: Exception) -> str:
    """One line for what `torch.load` raised, without the colours of its message."""
    if found := _GLOBAL.search(str(error)):
        name = one_line(found[1])
        if name.startswith(_MODULES):
            return "a whole pickled module; save model.state_dict() instead"
        return (
            f"cannot be loaded as tensors only (weights_only): it contains {name}; "
            "save model.state_dict()"
        )
    lines = str(error).splitlines() or [type(error).__name__]
    return f"cannot be loaded as tensors only (weights_only): {one_line(lines[0])[:120]}"
