import pytest
from tensorflow_numbers import numbers

from movinet.training.config import ScheduleSection
from movinet.training.schedule import learning_rate, warmup_steps

RUNS = {
    "short": (100, ScheduleSection(steps=100, warmup_steps=10)),
    "published": (85_785, ScheduleSection(steps=85_785, warmup_steps=2_145)),
    "constant": (100, ScheduleSection(steps=100, warmup_steps=10, kind="constant")),
}


@pytest.mark.parametrize("name", RUNS)
def test_learning_rates_are_the_references(name: str) -> None:
    """To 1e-6 of the peak, which is what float32 leaves of a cosine near its end."""
    total, config = RUNS[name]
    steps = numbers(f"rate/{name}/steps").tolist()
    found = [learning_rate(step, total, 1.8, config) for step in steps]
    assert found == pytest.approx(numbers(f"rate/{name}").tolist(), abs=1.8e-6)


def test_without_warmup_the_first_update_has_the_peak() -> None:
    assert learning_rate(0, 10, 0.3, ScheduleSection(steps=10)) == 0.3
    assert learning_rate(5, 10, 0.3, ScheduleSection(steps=10)) == pytest.approx(0.15)


@pytest.mark.parametrize(("total", "expected"), [(85_785, 10), (50, 10), (49, 9), (4, 0), (1, 0)])
def test_a_warm_up_takes_at_most_a_fifth_of_a_run(total: int, expected: int) -> None:
    config = ScheduleSection(steps=total, warmup_steps=10)
    assert warmup_steps(total, config) == expected
    rates = [learning_rate(step, total, 1.0, config) for step in range(min(total, 20))]
    assert rates.index(max(rates)) == expected
    assert max(rates) > 0.9
