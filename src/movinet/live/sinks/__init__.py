"""Sinks: where the results and events of live video go, without influence on their age.

Each sink has a thread and a bounded queue of its own. What a sink cannot take in time is dropped
and counted: results first, then updates of events, then the oldest reports. A report that has not
arrived is tried again, so every other one arrives at least once, and may arrive twice.
"""

from movinet.live.sinks.reports import Counts
from movinet.live.sinks.sinks import Sinks
from movinet.live.sinks.worker import Limits

__all__ = ["Counts", "Limits", "Sinks"]
