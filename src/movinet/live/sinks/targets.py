"""From what users write behind `--to` to sinks."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from movinet.errors import ConfigError
from movinet.live.sinks.command import Command
from movinet.live.sinks.files import CsvFile, JsonLines, Subtitles
from movinet.live.sinks.mqtt import Mqtt
from movinet.live.sinks.webhook import Webhook
from movinet.live.sinks.worker import Sink
from movinet.text import one_line

_ALLOWED = (
    "a file with the suffix .jsonl, .csv, .srt or .vtt, an http:// or https:// URL, or exec:COMMAND"
)


def make_sinks(
    targets: Sequence[str], sources: Sequence[str], resumed: Collection[str] = ()
) -> list[Sink]:
    """A sink for each target, not opened yet.

    Args:
        targets: As users write them.
        sources: Names of all sources.
        resumed: Names of the sinks of a run that goes on.

    Raises:
        ConfigError: If one is none, or two are the same file.
        MissingExtraError: If MQTT is asked for and paho-mqtt is not installed.
    """
    files: set[Path] = set()
    sinks = []
    for target in targets:
        sink = _make(target, sources, resumed)
        if not re.match(r"[A-Za-z]+:", target):
            path = Path(target).resolve()
            if path in files:
                raise ConfigError(f"{sink.name}: it is named twice")
            files.add(path)
        sinks.append(sink)
    return sinks


def _make(target: str, sources: Sequence[str], resumed: Collection[str]) -> Sink:
    if not isinstance(target, str | os.PathLike):
        raise ConfigError(f"expected a target as text, got {type(target).__name__}")
    target = os.fspath(target)
    if "\0" in target or not target:
        raise ConfigError(f"expected {_ALLOWED}")
    if target.startswith("exec:"):
        return Command(target.removeprefix("exec:"))
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", target)
    if scheme:
        name = scheme[1].lower()
        if name in ("http", "https"):
            return Webhook(target)
        if name in ("mqtt", "mqtts"):
            return Mqtt(target, sources)
        raise ConfigError(f"{one_line(name)}://***: nothing is sent there; expected {_ALLOWED}")
    path = Path(target)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return JsonLines(path)
    if suffix == ".csv":
        return CsvFile(path)
    if suffix in (".srt", ".vtt"):
        goes_on = one_line(path) in resumed
        return Subtitles(path, vtt=suffix == ".vtt", named=len(sources) != 1, resumed=goes_on)
    raise ConfigError(f"{one_line(target)}: expected {_ALLOWED}")
