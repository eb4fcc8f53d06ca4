"""Exported files of one small model."""

from pathlib import Path

import pytest
from small_stream import SPEC, STREAM

import movinet
from movinet.runtime.exported import ExportedRuntime
from networks import make_model


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A step of one stream."""
    path = tmp_path_factory.mktemp("exported") / "stream.tflite"
    movinet.export(make_model(STREAM), path, input_spec=SPEC)
    return path


@pytest.fixture(scope="module")
def runtime(file: Path) -> ExportedRuntime:
    return movinet.load(file)


@pytest.fixture(scope="module")
def batches(tmp_path_factory) -> ExportedRuntime:
    """A step of any number of streams."""
    path = tmp_path_factory.mktemp("exported") / "batches.tflite"
    movinet.export(make_model(STREAM), path, input_spec=SPEC, batch_size=None)
    return movinet.load(path)
