from __future__ import annotations

from movinet.events.subtitles import cue


def test_a_cue_is_two_lines_whatever_its_text_is() -> None:
    text = "a\n\n00:01 --> 00:02 <b>&"
    assert cue(3661.0, 3661.0, text, vtt=False).splitlines() == [
        "01:01:01,000 --> 01:01:01,001",
        r"a\n\n00:01 -> 00:02 <b>&",
    ]
    assert cue(0.0006, 59.9996, text, vtt=True).splitlines() == [
        "00:00:00.001 --> 00:01:00.000",
        r"a\n\n00:01 -&gt; 00:02 &lt;b&gt;&amp;",
    ]
