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
from movinet.data.loader import TrainLoader
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
