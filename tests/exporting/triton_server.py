"""What Triton does with a model repository, for tests: its configuration and its implicit state.

From its documentation and from its sources: the oldest strategy makes batches of the first request
of each sequence; a sequence begins with the initial state; states are paired by their places in
alphabetical order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[\w.+-]+|[][{}:,])')
_DTYPES = {"TYPE_FP32": "float32", "TYPE_UINT8": "uint8", "TYPE_INT8": "int8"}


def parse(text: str) -> dict[str, list[Any]]:
    """Protobuf's text format: the values of each field, in order."""
    return _message(iter(_TOKEN.findall(text)), "")


def _message(tokens: Iterator[str], end: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for token in tokens:
        if token == end:
            return found
        if token == ",":
            continue
        values, following = found.setdefault(token, []), next(tokens)
        if following == ":":
            following = next(tokens)
        if following == "{":
            values.append(_message(tokens, "}"))
        elif following == "[":
            for item in tokens:
                if item == "]":
                    break
                if item != ",":
                    values.append(_message(tokens, "}") if item == "{" else _value(item))
        else:
            values.append(_value(following))
    assert not end
    return found


def _value(token: str) -> Any:
    if token.startswith('"'):
        return token[1:-1]
    return int(token) if token.lstrip("-").isdecimal() else token


class Triton:
    """A model of a repository.

    Args:
        folder: Of the model.
    """

    def __init__(self, folder: Path) -> None:
        self.config = parse((folder / "config.pbtxt").read_text())
        assert self.config["name"] == [folder.name]
        assert self.config["backend"] == ["onnxruntime"]
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", options)
        (batching,) = self.config["sequence_batching"]
        self._states, (self._most,) = batching["state"], self.config["max_batch_size"]
        inputs = {item.name: item for item in self._session.get_inputs()}
        outputs = {item.name: item for item in self._session.get_outputs()}
        # Every input of the graph is given by somebody, and nothing else is.
        given = [item["name"][0] for item in self.config["input"]]
        assert {*given, *(state["input_name"][0] for state in self._states)} == set(inputs)
        described = [(item, "name", inputs) for item in self.config["input"]]
        described += [(item, "name", outputs) for item in self.config["output"]]
        described += [(state, "input_name", inputs) for state in self._states]
        described += [(state, "output_name", outputs) for state in self._states]
        for item, name, graph in described:
            assert graph[item[name][0]].shape == ["batch", *item["dims"]]
        # std::map: whatever the configuration says, the first input gets the first output.
        names = sorted(state["input_name"][0] for state in self._states)
        after = sorted(state["output_name"][0] for state in self._states)
        self._pairs = dict(zip(names, after, strict=True))
        self._initial = {state["input_name"][0]: _initial(folder, state) for state in self._states}
        self._sequences: dict[int, dict[str, NDArray[Any]]] = {}

    def infer(
        self, requests: Sequence[tuple[int, NDArray[Any]]], starting: Sequence[int] = ()
    ) -> list[Mapping[str, NDArray[Any]]]:
        """Answer requests of sequences, (id, frame), which come at the same time."""
        batch, sequences = len(requests), [sequence for sequence, _ in requests]
        assert 1 <= batch <= self._most
        assert len(set(sequences)) == batch  # the others wait for the next batch
        for sequence in starting:
            self._sequences[sequence] = dict(self._initial)
        fed = {"frames": np.stack([frame for _, frame in requests])}
        for name in self._pairs:
            fed[name] = np.stack([self._sequences[sequence][name] for sequence in sequences])
        names = [item.name for item in self._session.get_outputs()]
        outputs: Any = self._session.run(None, fed)
        found = dict(zip(names, outputs, strict=True))
        for row, sequence in enumerate(sequences):
            state = {before: found[after][row] for before, after in self._pairs.items()}
            self._sequences[sequence] = state
        wanted = [item["name"][0] for item in self.config["output"]]
        return [{name: found[name][row] for name in wanted} for row in range(batch)]


def _initial(folder: Path, state: Mapping[str, Any]) -> NDArray[Any]:
    (initial,) = state["initial_state"]
    assert initial["name"][0]
    assert (initial["data_type"], initial["dims"]) == (state["data_type"], state["dims"])
    dtype = np.dtype(_DTYPES[initial["data_type"][0]])
    size = math.prod(initial["dims"]) * dtype.itemsize
    if initial.get("zero_data") == ["true"]:
        data = bytes(size)
    else:
        data = (folder / "initial_state" / initial["data_file"][0]).read_bytes()
    assert len(data) == size
    return np.frombuffer(data, dtype).reshape(initial["dims"])
