"""Clips: the video around each event, as it came, without encoding it again."""

from movinet.live.clips.clips import Clips

__all__ = ["Clips"]
