"""Processes that others started end with them, however these end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: Start working processes, print their numbers, and wait.
PROGRAMS = {
    "pool": """
import os, time
from movinet.data.processes import in_processes
if __name__ == "__main__":
    results = in_processes(abs, range(100), 2)
    next(results)
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(100)
""",
    "loader": """
import time
from data_sets.loading import config_of, data_of, videos
from movinet.training.batches.loader import TrainLoader
if __name__ == "__main__":
    loader = TrainLoader(data_of(*videos(8)), config_of(data__workers=2))
    next(loader.batches(0))
    import multiprocessing
    from multiprocessing.forkserver import _forkserver
    children = [child.pid for child in multiprocessing.active_children()]
    print(*children, _forkserver._forkserver_pid or children[0], flush=True)
    time.sleep(100)
""",
}


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait to be noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", PROGRAMS)
def test_who_works_for_a_killed_process_ends(tmp_path: Path, name: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[name])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    running = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert running.stdout is not None
    workers = list(map(int, running.stdout.readline().split()))
    assert len(workers) >= 2
    assert all(map(is_there, workers))
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    until = time.monotonic() + 60
    while (left := list(filter(is_there, workers))) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


#: Start working processes, press Ctrl-C while they still import what they need, and work on.
INTERRUPTED = """
import multiprocessing, os, signal, threading, time
from multiprocessing.forkserver import _forkserver

def press():
    while not (_forkserver._forkserver_pid or multiprocessing.active_children()):
        time.sleep(0.001)
    for _ in range(4):
        time.sleep(0.1)
        os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    pressed = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    threading.Thread(target=press, daemon=True).start()
    START
    print(done, bool(pressed), flush=True)
"""
STARTS = {
    "pool": """
    from movinet.data.processes import in_processes
    done = sum(in_processes(abs, range(-3, 0), 2))
""",
    "loader": """
    from data_sets.loading import config_of, data_of, videos
    from movinet.training.batches.loader import TrainLoader
    loader = TrainLoader(data_of(*videos(8)), config_of(data__workers=2))
    done = len(list(loader.batches(0)))
""",
}


@pytest.mark.heavy
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups (os.killpg)")
@pytest.mark.parametrize(
    ("name", "done"), [("pool", 6), pytest.param("loader", 2, marks=pytest.mark.nightly)]
)
def test_ctrl_c_is_nothing_to_processes_that_start(tmp_path: Path, name: str, done: int) -> None:
    """Not even while they import PyTorch; the process that started them decides."""
    program = tmp_path / "program.py"
    program.write_text(INTERRUPTED.replace("START", STARTS[name].strip()))
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    ended = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == (f"{done} True\n", "", 0)
