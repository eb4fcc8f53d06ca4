"""The manifest of a .tflite file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from movinet.errors import CheckpointError
from movinet.runtime.manifest import MAX_BYTES, Manifest

#: Name of the manifest in the archive at the end of the file.
MEMBER = "movinet.json"


def stored_manifest(path: Path) -> Manifest | None:
    """The manifest inside a file that `movinet.export` wrote; None in files of others.

    Raises:
        CheckpointError: If it is broken, or the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(MEMBER)
            if info.file_size > MAX_BYTES:
                raise CheckpointError(f"{path}: its manifest is larger than {MAX_BYTES} bytes")
            text = archive.read(info)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, ValueError):
        return None
    except (zlib.error, RuntimeError):  # what is compressed is broken, or encrypted
        raise CheckpointError(f"{path}: its movinet manifest cannot be unpacked") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    return Manifest.parse(text, str(path))
