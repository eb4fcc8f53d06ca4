"""Names of files, and writing files so that they appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from movinet.errors import ConfigError


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
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        yield temporary
        for suffix in beside:
            temporary.with_suffix(suffix).replace(path.with_suffix(suffix))
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path}: cannot be written ({reason})") from None
    finally:
        for suffix in (path.suffix, *beside):
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.with_suffix(suffix).unlink(missing_ok=True)
