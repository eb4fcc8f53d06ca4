"""Settings for every test, and what happens to those that take longer than their marks say."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# One thread for each of pytest-xdist's workers; more would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no bug: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Under nohup, or in a script's background, these are ignored, here and in every process that a test
# starts; the tests of what they do want them as a terminal has them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

#: The most CPU seconds that a test may take without the mark `heavy`, where it fails, and with it,
#: where it is reported at the end. A fixture that several tests share counts for the first of them.
UNMARKED, HEAVY = 10.0, 30.0
_CPU_SECONDS, _BEFORE = "cpu_seconds", pytest.StashKey[float]()


def _cpu_seconds() -> float:
    """Of this process, and of those that it started and waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[_BEFORE] = _cpu_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    try:
        done = yield
    finally:
        taken = _cpu_seconds() - item.stash[_BEFORE]
        item.user_properties.append((_CPU_SECONDS, taken))
    if taken > UNMARKED and not any(map(item.get_closest_marker, ("heavy", "nightly"))):
        pytest.fail(
            f"it took {taken:.0f} CPU seconds, more than {UNMARKED:g}: make it smaller, or mark it "
            "heavy",
            pytrace=False,
        )
    return done


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The CPU seconds of all tests, and the tests that take too many for their marks."""
    ends = [report for report in terminalreporter.stats.get("", []) if report.when == "teardown"]
    seconds = [dict(report.user_properties).get(_CPU_SECONDS, 0.0) for report in ends]
    if sum(seconds) < UNMARKED:
        return
    terminalreporter.section(f"{sum(seconds):.0f} CPU seconds")
    for taken, report in sorted(zip(seconds, ends, strict=True), key=lambda pair: -pair[0]):
        heavy, nightly = "heavy" in report.keywords, "nightly" in report.keywords
        if not nightly and taken > (HEAVY if heavy else UNMARKED):
            advice = "make it smaller, or mark it nightly" if heavy else "make it smaller, or heavy"
            terminalreporter.line(f"{taken:.0f} s: {report.nodeid} ({advice})")


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake camera of a browser shows, over and over."""
    from movinet.data.synth.render import render_clip
    from page_shows import LABEL, write_video

    clip = render_clip("motions", LABEL, 1, 2)
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    write_video(path, clip.frames, clip.frame_rate, "wrapped_avframe")
    return path
