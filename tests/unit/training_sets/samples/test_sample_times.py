"""Sample times against the list of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training_sets.samples.sample_times import SampleTimes

SPANS = st.lists(st.integers(0, 60), min_size=2, max_size=8, unique=True).map(
    lambda edges: list(zip(*[iter(sorted(edges)[: len(edges) // 2 * 2])] * 2, strict=True))
)


@given(SPANS, st.integers(1, 7), st.integers(0, 6), st.integers(0, 70), st.integers(0, 70), st.integers(-5, 70))
def test_times_lie_an_offset_after_the_multiples_of_the_step_within_the_spans(
    spans: list[tuple[int, int]], step: int, after: int, one: int, other: int, moment: int
) -> None:
    offset = after % step
    plain = [time for start, end in spans for time in range(start, end) if time % step == offset]
    times = SampleTimes.of(spans, step, offset)
    assert len(times) == len(plain)
    first, last = sorted((one, other))
    assert times.between(first, last).tolist() == plain[first:last]
    assert times.number_from(moment) == sum(time < moment for time in plain)
