"""URLs of servers that get reports, without their secrets in messages."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from movinet.errors import ConfigError
from movinet.text import one_line


class Place:
    """Where a URL leads.

    Attributes:
        scheme: In lower case.
        host: Without brackets.
        port: None if the URL has none.
        user, password: Decoded; None if there is none.
        shown: Host and port, for messages.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
        if (
            not host
            or parts.fragment
            or url.endswith("#")
            or any(not c.isprintable() or c in " \\" for c in url)
        ):
            raise ValueError
        self.scheme, self.host, self.port = parts.scheme.lower(), host, parts.port
        self.user = None if parts.username is None else unquote(parts.username)
        self.password = None if parts.password is None else unquote(parts.password)
        inside = f"[{host}]" if ":" in host else host
        self.shown = inside if self.port is None else f"{inside}:{self.port}"


def split_url(url: str) -> Place:
    """Where a URL leads.

    Raises:
        ConfigError: If it has no host, a wrong port, spaces or a fragment.
    """
    try:
        return Place(url)
    except ValueError:  # UnicodeError is one
        scheme = one_line(url.partition(":")[0])
        raise ConfigError(
            f"{scheme}://***: it is not a URL with a host; spaces are written %20, # %23, and a "
            "port is a number from 1 to 65535"
        ) from None
