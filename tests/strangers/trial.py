"""Read damaged files of one kind, each in bounded time and memory.

``python trial.py KIND FOLDER --seed N [--first N] [--cases N] [--seconds N]`` makes a good file in
FOLDER and reads it damaged in as many ways as there is time for. What goes wrong is told on stdout
and ends the process; so does a crash. The same seed and case are the same damage.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from movinet.errors import MovinetError
from movinet.text import printable
from strangers.damage import damaged
from strangers.kinds import KINDS, Kind
from strangers.once import ONCE

#: Seconds that reading one file may take on a busy machine, and the length of its message.
DEADLINE, MESSAGE = 20, 2000
#: Address space beyond what the process has, for each byte of memory that is allowed.
SPACE = 4


class WrongError(Exception):
    """A file was not refused as it should be."""


def read(kind: Kind, path: Path) -> bool:
    """Read a file; False if it is refused as it should be.

    Raises:
        WrongError: If it is refused in any other way, or takes too much.
    """
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmHWM")
    signal.alarm(DEADLINE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(path)
        accepted = True
    except MovinetError as error:
        text, accepted = str(error), False
        if not text or text != printable(text) or len(text) > MESSAGE:
            raise WrongError(f"its message is no line: {text[:300]!r}") from error
    except Exception as error:
        raise WrongError("".join(traceback.format_exception(error))) from error
    finally:
        signal.alarm(0)
    if (taken := _memory("VmHWM") - before) > kind.memory:
        raise WrongError(f"it takes {taken >> 20} MB, over {kind.memory >> 20}")
    return accepted


def bounded(kind: Kind) -> None:
    """From here on a crash has a trace, and memory ends somewhat above what is allowed."""
    faulthandler.enable()
    most = _memory("VmSize") + SPACE * kind.memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGALRM, _too_late)


def good(kind: Kind, folder: Path) -> dict[str, bytes]:
    """A good file, which can be read: its bytes, and of those that belong to it, by name."""
    kind.make(folder / kind.name)
    kind.read(folder / kind.name)
    return {name: (folder / name).read_bytes() for name in kind.damaged or (kind.name,)}


def _too_late(*_: object) -> None:
    faulthandler.dump_traceback()
    raise WrongError(f"it takes more than {DEADLINE} seconds")


def _memory(name: str) -> int:
    """Bytes of this process, by a name of Linux's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{name}:")[2].split()[0])


def _read_all(kind: Kind, path: Path, damages: Sequence[bytes]) -> None:
    for case, data in enumerate(damages):
        print(f"case {case} of once.py", flush=True)
        path.write_bytes(data)
        _checked(kind, path)
    print(f"done: {len(damages)} cases", flush=True)


def _checked(kind: Kind, path: Path) -> bool:
    try:
        return read(kind, path)
    except WrongError as error:
        print(f"wrong: {error}", flush=True)
        sys.exit(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--once", action="store_true", help="what once went wrong, and no more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10**6)
    parser.add_argument("--seconds", type=float, default=1e9)
    options = parser.parse_args()
    kind, damages = KINDS[options.kind], ONCE[options.kind] if options.once else ()
    files = good(kind, options.folder)
    damages = [damage(files[(kind.damaged or (kind.name,))[0]]) for damage in damages]
    bounded(kind)
    if options.once:
        _read_all(kind, options.folder / kind.name, damages)
        return
    end, accepted, case = time.monotonic() + options.seconds, 0, options.first
    while case < options.first + options.cases and time.monotonic() < end:
        print(f"case {case}", flush=True)
        rng = random.Random(f"{options.kind}/{options.seed}/{case}")
        name = rng.choice(sorted(files))
        (options.folder / name).write_bytes(damaged(rng, files[name]))
        accepted += _checked(kind, options.folder / kind.name)
        (options.folder / name).write_bytes(files[name])
        case += 1
    print(f"done: {case - options.first} cases, {accepted} accepted", flush=True)


if __name__ == "__main__":
    main()
