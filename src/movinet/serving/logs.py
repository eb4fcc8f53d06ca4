"""What a server tells its operator: lines for people, or a JSON object a line; no secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from movinet.text import one_line

Format = Literal["text", "json"]
#: Level and text of a line.
Log = Callable[[str, str], None]
#: Ids of streams, and tokens, where addresses have them: who has one may use the stream.
_SECRETS = (
    (re.compile(r"(/v1/streams/)[A-Za-z0-9_-]{16,64}"), r"\1…"),
    (re.compile(r"(access_token=|movinet\.token\.|[Bb]earer )[^\s&\"',]+"), r"\1…"),
)
_LOGGERS = ("movinet", "uvicorn.error")


def without_secrets(text: str, secrets: Sequence[str] = ()) -> str:
    """A text in which ids of streams, tokens and other secrets are dots."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


class JsonLines(logging.Formatter):
    """A JSON object a line: time (UTC), level, logger, message, and error with its traceback.

    Args:
        secrets: What no line may show.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._safe(one_line(record.getMessage())),
        }
        if record.exc_info:
            line["error"] = self._safe(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

    def _safe(self, text: str) -> str:
        return without_secrets(text, self._secrets)


def log_as(chosen: Format, say: Log, token: str | None) -> Log:
    """Who is told what an operator should know.

    Args:
        chosen: "text" for people, as the other commands have it; "json" for programs.
        say: Writes a line for people.
        token: Of the server; in no line.
    """
    if chosen == "text":
        return say
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(() if token is None else (token,)))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger("movinet").setLevel(logging.INFO)
    server = logging.getLogger("movinet.server")

    def tell(kind: str, text: str) -> None:
        server.log(logging.WARNING if kind == "warning" else logging.INFO, "%s", text)

    return tell
