"""Events: what happens from when to when, found in probabilities over time.

The same detector serves live streams and recordings, so both give the same events.
"""

from movinet.events.detector import Detector, Event, EventChange, find_events
from movinet.events.rules import Rule, Rules, load_rules, parse_rules

__all__ = [
    "Detector",
    "Event",
    "EventChange",
    "Rule",
    "Rules",
    "find_events",
    "load_rules",
    "parse_rules",
]
