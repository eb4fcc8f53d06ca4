"""The models of a server, by the names under which they are served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from movinet.errors import ConfigError
from movinet.opening import open_model
from movinet.runtime.exported import ExportedRuntime
from movinet.text import printable


def open_served(given: Sequence[str]) -> dict[str, ExportedRuntime]:
    """Open stream models.

    Args:
        given: Files, or "motions", the bundled model; ``NAME=FILE`` gives one a name.

    Raises:
        ConfigError: If one is no stream model, or its name is none.
        CheckpointError, MissingExtraError: As `movinet.open_model`.
    """
    opened: dict[str, ExportedRuntime] = {}
    for text in given:
        name, separator, path = text.partition("=")
        if not separator:
            name, path = Path(text).stem, text
        runtime = open_model(path)
        if not isinstance(runtime, ExportedRuntime) or runtime.manifest.kind != "step":
            raise ConfigError(
                f"{printable(path)}: streams are served of exported stream models: "
                "movinet export writes them, .mvn for instance"
            )
        if name in opened or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ConfigError(f"{printable(name)}: a model needs a name of its own, NAME=FILE")
        opened[name] = runtime
    return opened
