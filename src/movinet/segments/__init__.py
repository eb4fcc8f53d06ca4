"""Long recordings as segments: what happens from when to when, in the formats of other tools."""

from movinet.segments.finding import Segments, find_segments
from movinet.segments.formats import SEGMENT_FORMATS, write_segments

__all__ = ["SEGMENT_FORMATS", "Segments", "find_segments", "write_segments"]
