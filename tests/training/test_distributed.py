"""Several processes, as torchrun starts them: one result, and one message when one is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_runs
import torch
import torch.multiprocessing as mp
from tiny_runs import tiny_config

from movinet.errors import ConfigError
from movinet.training.config import EngineSection
from movinet.training.distributed import joined
from movinet.training.run import run

#: A job's own folder, apart from that of pytest's workers.
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", tiny_runs.made_up_data)


def torchrun(folder: Path, *settings: str) -> list[str]:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    return [*launcher, "--nproc-per-node", "2", tiny_runs.__file__, str(folder), *settings]


def stored(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints/last.pt", weights_only=True)


def evaluations(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [r for r in records if r["kind"] == "eval"]


@pytest.mark.heavy
@pytest.mark.nightly  # test_norms.py has uneven shares of a batch, below a lost process is found
@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
def test_two_processes_equal_one(tmp_path: Path, optimizer: str) -> None:
    """Same global batch, same weights to 1e-5; a bad file on either side, and an odd evaluation."""
    changes = {
        "model__overrides": {"dropout": 0, "drop_path": 0},
        "data__train": "train:10:3",
        "data__valid": "valid:6:2",
        "optimizer__name": optimizer,
        "optimizer__learning_rate": 0.02,
    }
    run(tiny_config(tmp_path / "one", **changes))
    pairs = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in changes.items()]
    subprocess.run(torchrun(tmp_path / "two", *pairs), check=True, capture_output=True, env=QUIET)
    first, second = stored(tmp_path / "one"), stored(tmp_path / "two")
    for name in ("model", "ema"):  # statistics may be large: to 1e-5 of them
        torch.testing.assert_close(first[name], second[name], rtol=1e-5, atol=1e-5)
    alone, together = evaluations(tmp_path / "one"), evaluations(tmp_path / "two")
    assert [r["samples"] for r in together] == [5, 5]
    for name in ("top1", "top5", "eval_loss"):
        assert [r[name] for r in alone] == pytest.approx([r[name] for r in together], abs=1e-5)
    skipped = [(tmp_path / name / "skipped.txt").read_text() for name in ("one", "two")]
    assert sorted(skipped[0].splitlines()) == sorted(skipped[1].splitlines())
    assert len(skipped[0].splitlines()) == 2


@contextmanager
def job(folder: Path, *settings: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A job that has made some steps: torchrun, and the ids of its two processes."""
    command = torchrun(folder, "schedule.steps=500", "run.checkpoint_seconds=0", *settings)
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=QUIET, start_new_session=True
    ) as process:
        try:
            log = folder / "log.jsonl"
            while not (log.exists() and log.read_text().count("\n") >= 3):
                assert process.poll() is None
                time.sleep(0.05)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield process, [int(child) for child in children.split()]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.heavy
@pytest.mark.parametrize("lost", ["main", pytest.param("other", marks=pytest.mark.nightly)])
def test_a_lost_process_ends_the_job(tmp_path: Path, lost: str) -> None:
    with job(tmp_path) as (process, workers):
        os.kill(workers[0 if lost == "main" else 1], signal.SIGKILL)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert "another process of this job was lost" in errors[0]
    step = stored(tmp_path)["progress"]["step"]
    assert f"last.pt is whole, of step {step}: the same command continues" in errors[0]
    assert step >= 2


@pytest.mark.heavy
@pytest.mark.nightly  # a lost process ends the job by the same watch
def test_a_process_that_hangs_ends_the_job(tmp_path: Path) -> None:
    with job(tmp_path, "engine.timeout=5") as (process, workers):
        os.kill(workers[1], signal.SIGSTOP)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("error: "):
                assert "another process of this job was lost or does not answer" in line
                break
        else:
            pytest.fail("the job ended without a message")
    assert stored(tmp_path)["progress"]["step"] >= 2


@pytest.mark.heavy
@pytest.mark.nightly  # one process does it in test_resume.py
def test_a_request_to_stop_reaches_all(tmp_path: Path) -> None:
    """SIGTERM to one process: all stop after the same step, and it is saved."""
    with job(tmp_path, "run.checkpoint_seconds=1000") as (process, workers):
        os.kill(workers[1], signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    step = stored(tmp_path)["progress"]["step"]
    assert f"stopped by SIGTERM after step {step} of 500" in told
    assert "error: " not in told


def _gather(rank: int, folder: str, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with joined(EngineSection(batch_size=2, device="cpu")) as processes:
        rows = processes.gather(torch.full((3 * rank, 2), float(rank)))
        values = processes.gather_objects(("rank", rank))
        tellers = processes.gather_objects(processes.is_to_tell())
        shared = processes.share(["from", rank])
    torch.save((rows, values, tellers, shared), f"{folder}/{rank}.pt")


@pytest.mark.heavy
def test_what_processes_share(tmp_path: Path) -> None:
    """Uneven rows (none at all in one), objects, and one that tells of a failure."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_gather, (str(tmp_path), port), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    for rank in range(2):
        content = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        rows, values, tellers, shared = content
        assert torch.equal(rows, torch.ones(3, 2))
        assert values == [("rank", 0), ("rank", 1)]
        assert sum(tellers) == 1
        assert shared == ["from", 0]


def test_a_batch_that_cannot_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="batch_size 4 is for all 3 processes together"):
        run(tiny_config(tmp_path))


def test_a_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"process 0 of this machine has no GPU, there are 0"):
        run(tiny_config(tmp_path, engine__device="cuda"))
