"""Live video: cameras and network streams, newest frame first, for weeks."""

from movinet.live.clips import Clips
from movinet.live.replaying import Replay, Replayed
from movinet.live.results import LiveResult, SourceStatus
from movinet.live.resuming import Resume
from movinet.live.runlog import RunLog
from movinet.live.sinks import Sinks
from movinet.live.watching import watch

__all__ = [
    "Clips",
    "LiveResult",
    "Replay",
    "Replayed",
    "Resume",
    "RunLog",
    "Sinks",
    "SourceStatus",
    "watch",
]
