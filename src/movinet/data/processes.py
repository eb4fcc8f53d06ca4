"""Work in several processes, which may die of what they are given."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Items handed out beyond the one that is waited for, for each process.
_AHEAD = 4


def in_processes(
    function: Callable[[T], R], items: Sequence[T], workers: int
) -> Generator[R | None]:
    """The result for each item, in order.

    A file from outside can crash a decoder, and the process with it. Whatever was under way is
    then done again, one item at a time.

    Args:
        function: Can be sent to another process, as items and results can.
        items: What to work on.
        workers: Processes; with 1 all is done in this one.

    Yields:
        What `function` gave; None for an item that ended its process.
    """
    workers = min(workers, len(items))
    if workers < 2:
        yield from map(function, items)
        return
    waiting: deque[tuple[T, Future[R]]] = deque()
    with _Processes(function, workers) as processes:
        for item in items:
            waiting.append((item, processes.submit(item)))
            if len(waiting) > _AHEAD * workers:
                yield processes.result(*waiting.popleft())
        while waiting:
            yield processes.result(*waiting.popleft())


class _Processes(Generic[T, R]):
    """A pool that is replaced when it breaks, and one that does one thing at a time."""

    def __init__(self, function: Callable[[T], R], workers: int) -> None:
        self._function, self._workers = function, workers
        self._pool, self._single = _pool(workers), _pool(1)  # processes start when they are needed

    def submit(self, item: T) -> Future[R]:
        with deaf():  # it starts processes
            try:
                return self._pool.submit(self._function, item)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False)
                self._pool = _pool(self._workers)
                return self._pool.submit(self._function, item)

    def result(self, item: T, future: Future[R]) -> R | None:
        try:
            return future.result()
        except BrokenProcessPool:
            return self._alone(item)

    def _alone(self, item: T) -> R | None:
        try:
            with deaf():
                future = self._single.submit(self._function, item)
            return future.result()
        except BrokenProcessPool:
            self._single.shutdown(wait=False)
            self._single = _pool(1)
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What is not begun is not worth waiting for when the work ends early.
        self._pool.shutdown(cancel_futures=True)
        self._single.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # forks of threads hang
    return ProcessPoolExecutor(workers, context, initializer=serve_parent)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started inside never see Ctrl-C, from their first instruction on.

    `serve_parent` comes too late for that: while they still import what they need, they would end
    in tracebacks. A signal that this process gets meanwhile waits until the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # It unblocks the signal when it is started, which would be inside.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_script() -> Iterator[None]:
    """Processes that are started inside do not import the program's script.

    They would run it again where it lacks ``if __name__ == "__main__":``, as a script that calls
    `movinet.train` may. What they are sent must not be defined in it.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def serve_parent() -> None:
    """Make this process a servant of the one that started it.

    That one alone reacts to Ctrl-C. When it is gone, killed perhaps, this one ends; else it would
    wait for work for ever, as pools and PyTorch's loaders leave it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
