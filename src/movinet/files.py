"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, beside: Sequence[str] = ()) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at the end, or removed on an error.

    The name is short whatever `path` is called, and the file gets the permissions of any new one.

    Args:
        path: The file.
        beside: Suffixes of the files of the same name that are written with it: the same becomes
            of them.

    Raises:
        OSError: If the operating system refuses to write; its message names `path`.
    """
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
