"""The engine under the address and undefined-behaviour sanitizers, and with damaged files."""

from pathlib import Path

import native_checks
import pytest

#: A network with positions, a turbo one, and a frame that is not square; `make native-sanitize`
#: runs the others too.
REFERENCE = ("a0_stream", "a0_stream_50x66", "a3_stream", "t0_stream")


@pytest.mark.heavy
@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_clean_under_the_sanitizers(tmp_path: Path) -> None:
    """In one test, so that the engine is compiled once however tests are spread."""
    build, cases = tmp_path / "build", tmp_path / "cases"
    native_checks.build_sanitized(build)
    native_checks.make_cases(cases, reference=REFERENCE)
    native_checks.sanitize(build, cases)
    native_checks.fuzz(build, cases, seconds=15, seed=0)
