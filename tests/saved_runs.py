"""Files of runs that are saved, as somebody may have edited them."""

import json
import struct
from collections.abc import Callable
from typing import Any


def edited(data: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """A file whose state is another one."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    state = json.loads(header["__metadata__"]["state"])
    edit(state)
    header["__metadata__"]["state"] = json.dumps(state)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]
