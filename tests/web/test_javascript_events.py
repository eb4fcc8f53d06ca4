"""Events in JavaScript are those of Python, report by report."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from js_models import PACKAGE
from movinet.events import Detector, Rule, Rules

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
LABELS = ["a", "b", "c"]
PROGRAM = """
import { readFile } from "node:fs/promises";
const { Detector } = await import(process.argv[2]);
const { labels, rules, times, rows, moved } = JSON.parse(await readFile(process.argv[3], "utf8"));
let detector = new Detector(labels, rules);
const reports = [];
times.forEach((time, at) => {
  if (at === moved) {
    const { state } = JSON.parse(JSON.stringify({ state: detector.state() }));
    detector = new Detector(labels, rules);
    detector.restore(state);
  }
  reports.push(detector.update(time, rows[at]));
});
reports.push(detector.finish());
console.log(JSON.stringify(reports));
"""


def in_javascript(folder: Path, **job: Any) -> list[list[dict[str, Any]]]:
    (folder / "program.mjs").write_text(PROGRAM)
    (folder / "job.json").write_text(json.dumps(job))
    module = (PACKAGE / "events.mjs").as_uri()
    done = subprocess.run(
        ["node", folder / "program.mjs", module, folder / "job.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(exclusive=True),
        Rules(default=Rule(smoothing=0.5, shortest=0.4, merge=0, dead=1.5, update=1)),
        Rules(default=None, classes={"b": Rule(on=0.5, off=0.5, shortest=0, break_after=0.9)}),
    ],
    ids=["default", "exclusive", "smooth", "one class"],
)
def test_reports_are_those_of_python(rules: Rules, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    steps = random.choice([0.2, 0.2, 0.2, 0.4, 1.0, 12.0], 600, p=[0.5, 0.2, 0.2, 0.06, 0.03, 0.01])
    times = np.cumsum(steps)
    walk = np.cumsum(random.normal(0, 1.2, (600, 3)), 0)
    rows = 1 / (1 + np.exp(-np.abs(walk % 12 - 6) + 3))
    detector = Detector(LABELS, rules)
    wanted = [detector.update(float(t), row) for t, row in zip(times, rows, strict=True)]
    wanted.append(detector.finish())
    assert sum(map(len, wanted)) > 20
    found = in_javascript(
        tmp_path,
        labels=LABELS,
        rules=rules.to_json(),
        times=times.tolist(),
        rows=rows.tolist(),
        moved=300,
    )
    assert len(found) == len(wanted)
    for reports, changes in zip(found, wanted, strict=True):
        assert [report["kind"] for report in reports] == [change.kind for change in changes]
        for report, change in zip(reports, changes, strict=True):
            event = dataclasses.asdict(change.event)
            assert report["event"].keys() == event.keys()
            for name, value in event.items():
                assert report["event"][name] == (
                    value if isinstance(value, str) else pytest.approx(value, abs=1e-9)
                )


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"default": {"on": 0.3}}, "0 < off <= on < 1"),
        ({"default": {"merge": -1}}, "merge must be 0 to"),
        ({"default": {"longest": 3}}, "no longest"),
        ({"classes": {"z": {}}}, "no class z"),
    ],
)
def test_rules_that_do_not_fit_are_refused(
    rules: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=reason):
        in_javascript(tmp_path, labels=LABELS, rules=rules, times=[], rows=[], moved=-1)
