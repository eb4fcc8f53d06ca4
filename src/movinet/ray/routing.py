"""Which replica a request goes to: a stream's all to the same one, while there is one."""

from __future__ import annotations

import re
from typing import Any

from movinet.errors import MissingExtraError

try:
    from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:
    raise MissingExtraError("Ray Serve, of version 2.60 or later", "ray") from None

#: Of a stream's path; the proxy hands a request on as bytes, of which the path comes first.
_STREAM = re.compile(rb"/v1/streams/([A-Za-z0-9_-]{16,64})")
#: Of those bytes; far behind the path.
_HEAD = 4096


class StreamRouter(ConsistentHashRouter):
    """Ray's router of sessions, whose sessions are streams.

    Ray takes a session's id from a header; browsers send none with a WebSocket, and every request
    of a stream has the stream's id in its path.
    """

    def _routing_key(self, pending_request: Any) -> str | None:
        if pending_request is not None and pending_request.args:
            request = pending_request.args[0]
            if isinstance(request, bytes) and (found := _STREAM.search(request[:_HEAD])):
                return found[1].decode()
        return super()._routing_key(pending_request)
