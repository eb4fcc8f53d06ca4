"""The exceptions of movinet: one small tree, each message one line that says what to do."""


class MovinetError(Exception):
    """Base class of every error that movinet raises on bad input or failed work."""


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
        super().__init__(f"{feature} needs an extra: pip install 'movinet[{extra}]'")
