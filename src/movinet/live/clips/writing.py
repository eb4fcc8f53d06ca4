"""Files of clips, written in a thread of their own: a slow disk makes no result later."""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from movinet.text import one_line

#: Of all clips, what may wait for the disk, bytes.
ROOM = 64_000_000
#: What is behind the name of a clip that is still being written.
PART = ".part"


class Target(io.RawIOBase):
    """What a muxer writes to: everything is handed to a writer, and nothing waits.

    Args:
        writer: Of all clips.
        path: Of the clip; it has another name until it is finished.

    Attributes:
        failed: Whether it cannot be written; the clip is given up.
    """

    def __init__(self, writer: Writer, path: Path) -> None:
        super().__init__()
        self.path, self.failed = path, False
        self._writer, self._at, self._size = writer, 0, 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: a muxer goes back for the duration."""
        return True

    def tell(self) -> int:
        """Where the next bytes go."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go somewhere else."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def write(self, data: bytes) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Hand over bytes."""
        copied = bytes(data)
        self._writer.write(self, self._at, copied)
        self._at += len(copied)
        self._size = max(self._size, self._at)
        return len(copied)


class Writer:
    """Writes clips; a context manager.

    Args:
        say: Called with "warning" and a line if a clip cannot be written.
        room: Bytes that may wait for the disk.
    """

    def __init__(self, say: Callable[[str, str], None], room: int = ROOM) -> None:
        self._say, self._room = say, room
        self._waiting, self._lock = 0, threading.Lock()
        self._work: queue.SimpleQueue[tuple[Target, int, bytes] | tuple[Target, bool] | None] = (
            queue.SimpleQueue()
        )
        self._files: dict[Target, int] = {}
        self._thread = threading.Thread(target=self._run, name="movinet clips", daemon=True)
        self._thread.start()

    def write(self, target: Target, at: int, data: bytes) -> None:
        """Let bytes wait for the disk; if too many do, the clip is given up."""
        with self._lock:
            full = self._waiting + len(data) > self._room
            if not full and not target.failed:
                self._waiting += len(data)
        if full and not target.failed:
            target.failed = True
            self._say("warning", f"{one_line(target.path)}: given up, since the disk is too slow")
        if not target.failed:
            self._work.put((target, at, data))

    def finish(self, target: Target) -> None:
        """A clip is complete, or given up if it has failed."""
        self._work.put((target, True))

    def close(self, seconds: float) -> None:
        """Write what waits, for so many seconds."""
        self._work.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            target = item[0]
            try:
                if len(item) == 3:
                    self._write(target, item[1], item[2])
                else:
                    self._finish(target)
            except OSError as error:
                self._give_up(target, one_line(error.strerror))
        for target in list(self._files):
            self._give_up(target, "")

    def _write(self, target: Target, at: int, data: bytes) -> None:
        with self._lock:
            self._waiting -= len(data)
        if target.failed:
            return
        file = self._files.get(target)
        if file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            file = self._files[target] = os.open(_part(target.path), flags, 0o644)
        os.lseek(file, at, os.SEEK_SET)
        while data:
            data = data[os.write(file, data) :]

    def _finish(self, target: Target) -> None:
        if target.failed:
            self._give_up(target, "")
        elif (file := self._files.pop(target, None)) is not None:
            os.close(file)
            _part(target.path).replace(target.path)

    def _give_up(self, target: Target, reason: str) -> None:
        """Delete what there is of a clip."""
        if reason and not target.failed:
            self._say("warning", f"{one_line(target.path)}: cannot be written ({reason})")
        target.failed = True
        if (file := self._files.pop(target, None)) is not None:
            os.close(file)
            _part(target.path).unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(path.name + PART)
