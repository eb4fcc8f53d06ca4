"""The exceptions of movinet: one small tree, each message one line that says what to do."""

from pathlib import Path

from movinet.text import printable


class MovinetError(Exception):
    """Base class of every error that movinet raises on bad input or failed work.

    Names and texts from outside may be part of its message: whatever in them could steer a
    terminal, turn the reading direction, or forge a line of a log is escaped.
    """

    def __init__(self, message: object = "", *args: object) -> None:
        super().__init__(printable(str(message)), *args)


class ConfigError(MovinetError, ValueError):
    """A model name, configuration field or argument is not allowed."""


class CheckpointError(MovinetError):
    """A file of weights is broken, untrusted, or does not fit the model."""


class DownloadError(MovinetError):
    """Published weights could not be fetched or do not match what was recorded of them."""


class VideoError(MovinetError):
    """A video cannot be opened, decoded or written."""


class TrainingError(MovinetError):
    """Training cannot go on: it diverged, a process was lost, or there is nothing to work with."""


class MissingExtraError(MovinetError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: {install_command(extra)}")


def install_command(extra: str, package: str | Path = __file__) -> str:
    """The command that adds extras to this installation.

    Args:
        extra: One or several, with commas between them.
        package: A file of the package: in a checkout, pip adds extras to that.
    """
    root = Path(package).absolute().parents[2]
    if (root / "pyproject.toml").is_file() and (root / "src" / "movinet").is_dir():
        return f"pip install -e '.[{extra}]' in {root}"
    return f"pip install 'movinet[{extra}]'"
