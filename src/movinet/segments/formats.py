"""Segments in the formats of annotation tools, players and benchmarks.

Each writer gives the text of a file. Names come from labels of anybody, so each format escapes them
by its own rules, with the libraries of Python where there is one.
"""

from __future__ import annotations

import csv
import io
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from movinet.errors import ConfigError
from movinet.events import Event
from movinet.events.subtitles import VTT_HEAD, cue
from movinet.files import file_path, replacing
from movinet.segments.finding import Segments
from movinet.text import printable


@dataclass(frozen=True)
class SegmentFormat:
    """A format of segments.

    Attributes:
        name: What it is called.
        title: For people.
        suffix: Of its files; several formats may have the same.
        write: Gives the text of a file.
    """

    name: str
    title: str
    suffix: str
    write: Callable[[Segments], str]


def write_segments(
    segments: Segments,
    path: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
) -> None:
    """Write segments to a file, which appears whole or not at all.

    Args:
        segments: What to write.
        path: The file; its suffix determines the format where `format` does not.
        format: A name of `SEGMENT_FORMATS`.

    Raises:
        ConfigError: If there is no such format.
        OSError: If the file cannot be written.
    """
    path = file_path(path)
    text = chosen_format(path, format).write(segments)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def chosen_format(path: Path, name: str | None) -> SegmentFormat:
    """The format of a file, by name or by suffix.

    Raises:
        ConfigError: If there is no such format.
    """
    if name is not None:
        if name not in SEGMENT_FORMATS:
            raise ConfigError(f"no format {name!r}; there are {', '.join(SEGMENT_FORMATS)}")
        return SEGMENT_FORMATS[name]
    for one in SEGMENT_FORMATS.values():
        if one.suffix == path.suffix.lower():
            return one
    suffixes = ", ".join(dict.fromkeys(one.suffix for one in SEGMENT_FORMATS.values()))
    raise ConfigError(f"{path}: segments end in one of {suffixes}; --format names others")


def _csv(segments: Segments) -> str:
    rows = [
        (e.label, f"{e.start:.3f}", f"{e.end:.3f}", f"{e.peak:.4f}", f"{e.mean:.4f}", e.id)
        for e in segments.events
    ]
    return _table(("label", "start", "end", "peak", "mean", "id"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def _json(segments: Segments) -> str:
    return _dumped(
        {
            "video": _name(segments),
            "duration": round(segments.duration, 3),
            "model": segments.model,
            "events": [
                {
                    "id": e.id,
                    "label": e.label,
                    "start": round(e.start, 3),
                    "end": round(e.end, 3),
                    "peak": round(e.peak, 4),
                    "mean": round(e.mean, 4),
                }
                for e in segments.events
            ],
            "notes": list(segments.notes),
        }
    )


def _vtt(segments: Segments) -> str:
    cues = (cue(e.start, e.end, _said(e), vtt=True) for e in segments.events)
    return VTT_HEAD + "\n\n".join(cues) + "\n" if segments.events else VTT_HEAD


def _srt(segments: Segments) -> str:
    return "".join(
        f"{number}\n{cue(e.start, e.end, _said(e), vtt=False)}\n\n"
        for number, e in enumerate(segments.events, start=1)
    )


def _said(event: Event) -> str:
    return f"{event.label} ({event.peak:.0%})"


def _chapters(segments: Segments) -> str:
    """FFmpeg's metadata file: ``ffmpeg -i VIDEO -i FILE -map_chapters 1 -c copy OUT``.

    Chapters do not overlap in players: one ends where the next begins.
    """
    lines = [";FFMETADATA1"]
    events = segments.events
    for number, e in enumerate(events):
        following = events[number + 1].start if number + 1 < len(events) else segments.duration
        end = max(e.start, min(e.end, following))
        title = "".join(f"\\{c}" if c in "=;#\\" else c for c in printable(e.label))
        # FFmpeg takes a backslash before the end of a line for a line that goes on.
        title += " " if title.endswith("\\") else ""
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={round(e.start * 1000)}"]
        lines += [f"END={round(end * 1000)}", f"title={title}"]
    return "\n".join(lines) + "\n"


def _elan(segments: Segments) -> str:
    """ELAN's EAF 3.0: a tier for each class."""
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "movinet",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    media = {
        "MEDIA_URL": segments.path.absolute().as_uri(),
        "RELATIVE_MEDIA_URL": f"./{_name(segments)}",
        "MIME_TYPE": "video/*",
    }
    ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    order = ET.SubElement(root, "TIME_ORDER")
    tiers: dict[str, ET.Element] = {}
    for number, e in enumerate(segments.events, start=1):
        for slot, time in ((2 * number - 1, e.start), (2 * number, e.end)):
            value = {"TIME_SLOT_ID": f"ts{slot}", "TIME_VALUE": str(round(time * 1000))}
            ET.SubElement(order, "TIME_SLOT", value)
        label = _xml_text(e.label)
        if label not in tiers:
            names = {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": label}
            tiers[label] = ET.Element("TIER", names)
        annotation = ET.SubElement(tiers[label], "ANNOTATION")
        names = {
            "ANNOTATION_ID": f"a{number}",
            "TIME_SLOT_REF1": f"ts{2 * number - 1}",
            "TIME_SLOT_REF2": f"ts{2 * number}",
        }
        alignable = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", names)
        ET.SubElement(alignable, "ANNOTATION_VALUE").text = label
    root.extend(tiers.values())
    names = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "default-lt"}
    ET.SubElement(root, "LINGUISTIC_TYPE", {**names, "TIME_ALIGNABLE": "true"})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml_text(text: str) -> str:
    """Text that XML can hold."""
    return printable(text)


def _activitynet(segments: Segments) -> str:
    """Detections as ActivityNet's evaluation reads them."""
    detections = [
        {
            "label": e.label,
            "score": round(e.peak, 6),
            "segment": [round(e.start, 3), round(e.end, 3)],
        }
        for e in segments.events
    ]
    return _dumped(
        {
            "version": "VERSION 1.3",
            "results": {segments.path.stem: detections},
            "external_data": {"used": True, "details": segments.model},
        }
    )


def _ava(segments: Segments) -> str:
    """AVA's rows: video, middle of each second, box of the whole picture, class from 1, score."""
    rows: list[tuple[Any, ...]] = []
    for e in segments.events:
        number = segments.labels.index(e.label) + 1
        seconds = range(int(e.start), max(int(e.start) + 1, round(e.end)))
        rows += [(segments.path.stem, s, 0, 0, 1, 1, number, f"{e.peak:.4f}") for s in seconds]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _label_studio(segments: Segments) -> str:
    """A task with predictions, for the TimelineLabels of a Video tag; frames count from 1."""
    rate = segments.frame_rate or 25.0
    results = [
        {
            "id": e.id,
            "type": "timelinelabels",
            "from_name": "timelineLabels",
            "to_name": "video",
            "score": round(e.mean, 4),
            "value": {
                "ranges": [{"start": int(e.start * rate) + 1, "end": max(1, round(e.end * rate))}],
                "timelinelabels": [e.label],
            },
        }
        for e in segments.events
    ]
    task = {
        "data": {"video": _name(segments)},
        "predictions": [
            {
                "model_version": segments.model,
                "score": round(max((e.peak for e in segments.events), default=0.0), 4),
                "result": results,
            }
        ],
    }
    return _dumped([task])


def _via(segments: Segments) -> str:
    """VGG Image Annotator 3: temporal segments of one file."""
    labels = {str(number): label for number, label in enumerate(segments.labels)}
    numbers = {label: number for number, label in labels.items()}
    return _dumped(
        {
            "project": {
                "pid": "__VIA_PROJECT_ID__",
                "rev": "__VIA_PROJECT_REV_ID__",
                "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
                "pname": _name(segments),
                "data_format_version": "3.1.1",
                "creator": "movinet",
                "created": 0,
                "vid_list": ["1"],
            },
            "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
            "attribute": {
                "1": {
                    "aname": "event",
                    "anchor_id": "FILE1_Z2_XY0",
                    "type": 4,
                    "desc": "",
                    "options": labels,
                    "default_option_id": "",
                }
            },
            "file": {"1": {"fid": "1", "fname": _name(segments), "type": 4, "loc": 1, "src": ""}},
            "metadata": {
                f"1_{number}": {
                    "vid": "1",
                    "flg": 0,
                    "z": [round(e.start, 3), round(e.end, 3)],
                    "xy": [],
                    "av": {"1": numbers[e.label]},
                }
                for number, e in enumerate(segments.events)
            },
            "view": {"1": {"fid_list": ["1"]}},
        }
    )


def _fiftyone(segments: Segments) -> str:
    """FiftyOne's video classification with temporal detections; frames count from 1."""
    rate = segments.frame_rate or 25.0
    detections = [
        {
            "label": e.label,
            "support": [int(e.start * rate) + 1, max(int(e.start * rate) + 1, round(e.end * rate))],
            "timestamps": [round(e.start, 3), round(e.end, 3)],
            "confidence": round(e.mean, 4),
        }
        for e in segments.events
    ]
    name = segments.path.stem
    return _dumped({"classes": list(segments.labels), "labels": {name: detections}})


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _name(segments: Segments) -> str:
    return segments.path.name.encode("utf-8", "replace").decode()


#: By name; the first one of a suffix is the one that files of it get.
SEGMENT_FORMATS = {
    one.name: one
    for one in (
        SegmentFormat("csv", "a table", ".csv", _csv),
        SegmentFormat("json", "movinet's JSON", ".json", _json),
        SegmentFormat("vtt", "WebVTT subtitles", ".vtt", _vtt),
        SegmentFormat("srt", "SubRip subtitles", ".srt", _srt),
        SegmentFormat("elan", "ELAN 3.0", ".eaf", _elan),
        SegmentFormat("chapters", "FFmpeg metadata with chapters", ".ffmetadata", _chapters),
        SegmentFormat("activitynet", "ActivityNet detections", ".json", _activitynet),
        SegmentFormat("ava", "AVA rows", ".csv", _ava),
        SegmentFormat("label-studio", "Label Studio predictions", ".json", _label_studio),
        SegmentFormat("via", "VGG Image Annotator 3", ".json", _via),
        SegmentFormat("fiftyone", "FiftyOne temporal detections", ".json", _fiftyone),
    )
}
