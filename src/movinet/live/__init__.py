"""Live video: cameras and network streams, newest frame first, for weeks."""

from movinet.live.results import LiveResult, SourceStatus
from movinet.live.watching import watch

__all__ = ["LiveResult", "SourceStatus", "watch"]
