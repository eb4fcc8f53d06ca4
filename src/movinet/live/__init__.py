"""Live video: cameras and network streams, newest frame first, for weeks."""

from movinet.live.clips import Clips
from movinet.live.results import LiveResult, SourceStatus
from movinet.live.resuming import Resume
from movinet.live.sinks import Sinks
from movinet.live.watching import watch

__all__ = ["Clips", "LiveResult", "Resume", "Sinks", "SourceStatus", "watch"]
