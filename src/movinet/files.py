"""Names of files, and writing files so that they appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from movinet.errors import ConfigError
from movinet.text import printable


def file_path(name: object) -> Path:
    """A name as a path, if a file can have it.

    Raises:
        ConfigError: If it is no path, or has a null character, which no system takes.
    """
    text = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(text, str):
        raise ConfigError(f"a path is a string or a Path, not {type(text).__name__}")
    if "\0" in text:
        raise ConfigError(f"{text!r}: no file has a null character in its name")
    return Path(text)


#: What work in progress is called: whose it is can be told from the name.
_TEMPORARY = re.compile(r"\.movinet-(\d+)-[0-9a-f]{8}(\.\w+)?")
#: Seconds after which such a file is nobody's: of a process that is gone (another machine may share
#: the folder), and of any.
_DEAD_AGE, _ANY_AGE = 3600, 86_400
#: Folders in which this process has looked for what others left.
_tidied: set[Path] = set()


def temporary_name(path: Path, suffix: str | None = None) -> Path:
    """A new name beside `path` for work in progress.

    What killed processes have left in the folder under such names is removed.

    Args:
        path: The file or folder that is to come.
        suffix: Of the name; by default that of `path`.
    """
    folder = path.parent.absolute()
    if folder not in _tidied:
        _tidied.add(folder)
        _remove_leftovers(folder)
    suffix = path.suffix if suffix is None else suffix
    return path.with_name(f".movinet-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def _remove_leftovers(folder: Path) -> None:
    """Remove the unfinished work of processes that were killed."""
    with contextlib.suppress(OSError, ValueError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found is None:
                continue
            with contextlib.suppress(OSError):  # somebody else removes it too, or may and we not
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                is_folder = entry.is_dir(follow_symlinks=False)  # dated by its last new file
                if age < (_ANY_AGE if is_folder or _is_running(int(found[1])) else _DEAD_AGE):
                    continue
                if is_folder:
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()


def _is_running(process: int) -> bool:
    """Whether there is such a process on this machine; True where that cannot be asked."""
    if os.name != "posix":  # there a signal of 0 would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def model_path(name: object) -> Path:
    """`file_path` for files that engines open, which take names in UTF-8 only.

    Raises:
        ConfigError: If it is no path, or holds bytes that are not UTF-8.
    """
    path = file_path(name)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{str(path)!r}: the name holds bytes that are not UTF-8, which engines cannot open; "
            "rename the file, or its folder"
        ) from None
    return path


@contextlib.contextmanager
def replacing(path: Path, beside: Sequence[str] = ()) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at the end, or removed on an error.

    The name is short whatever `path` is called, and the file gets the permissions of any new one.

    Args:
        path: The file.
        beside: Suffixes of the files of the same name that are written with it: the same becomes
            of them.

    Raises:
        ConfigError: If no file can be called `path`.
        OSError: If the operating system refuses to write; its message names `path`.
    """
    path = file_path(path)
    temporary = temporary_name(path)
    try:
        yield temporary
        for suffix in beside:
            temporary.with_suffix(suffix).replace(path.with_suffix(suffix))
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(printable(f"{path}: cannot be written ({reason})")) from None
    finally:
        for suffix in (path.suffix, *beside):
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.with_suffix(suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new folder beside `folder`, renamed to it at the end, or removed on an error.

    Args:
        folder: The folder.
        replace: Take the place of a folder that is there, which is removed; else that is an error.

    Raises:
        OSError: If the operating system refuses to write; its message names `folder`.
    """
    temporary = temporary_name(folder, "")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if replace and folder.exists():
            _exchange(temporary, folder)
        else:
            temporary.rename(folder)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(printable(f"{folder}: cannot be written ({reason})")) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, folder: Path) -> None:
    """Put a folder in the place of another one, which is removed."""
    old = temporary_name(folder, "")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
