"""Cues of subtitles, for the files of live streams and of recordings."""

from __future__ import annotations

from movinet.text import printable

#: What a file of WebVTT begins with: https://www.w3.org/TR/webvtt1/.
VTT_HEAD = "WEBVTT\n\n"


def cue(start: float, end: float, text: str, *, vtt: bool) -> str:
    """When a text is shown, and the text below it: two lines without an end of line.

    Args:
        start: Seconds.
        end: Seconds; a cue without a length would not be shown and gets a millisecond.
        text: Whatever could be taken for something else than text is escaped.
        vtt: WebVTT instead of SubRip.
    """
    first = round(start * 1000)
    last = max(round(end * 1000), first + 1)
    # Players take a line with an arrow for the times of a cue.
    text = printable(text).replace("-->", "->")
    if vtt:
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{_clock(first, vtt)} --> {_clock(last, vtt)}\n{text}"


def _clock(milliseconds: int, vtt: bool) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{'.' if vtt else ','}{rest % 1000:03}"
