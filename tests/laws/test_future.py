"""What arrives later never changes a row that is closed, nor one that closes before it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.events import Events, empty_events
from tests.examples import examples
from tests.laws.messages import tape
from tests.laws.running import assert_same, end_of, run, second_of
from tests.laws.streams import tapes
from transforms.kernel import Kernel


def another_future(data: st.DataObject, later: Events, row_ns: int) -> Events:
    """The events of the row time and after it, changed in a drawn way."""
    match data.draw(st.sampled_from(("deleted", "perturbed", "reversed", "thinned", "another"))):
        case "deleted":
            return empty_events()
        case "perturbed":
            perturbed = later.copy()
            perturbed["px"] += data.draw(st.integers(1, 50))
            perturbed["qty"] = perturbed["qty"] * 3 + 1
            perturbed["update_id"] += data.draw(st.integers(0, 2))
            return perturbed
        case "reversed":
            messages = [later[later["seq"] == seq] for seq in np.unique(later["seq"])]
            return np.concatenate(messages[::-1]) if messages else later
        case "thinned":
            thinned: Events = later[later["seq"] % 2 == 0]
            return thinned
        case _:
            other = data.draw(tapes(max_size=8))
            other["recv_ns"] += row_ns + data.draw(st.sampled_from((0, 1, SECOND_NS))) - int(other["recv_ns"].min())
            return other


@settings(max_examples=examples(30))
@given(data=st.data())
def test_what_arrives_at_the_row_time_or_later_never_changes_the_row(
    kernel: Kernel, before: bytes | None, data: st.DataObject
) -> None:
    events = data.draw(tapes(is_warm=before is not None))
    # Around an event, where a look ahead would see it.
    around_ns = int(data.draw(st.sampled_from(events["recv_ns"].tolist())))
    row_ns = max(second_of(around_ns), second_of(int(events["recv_ns"][0])) + SECOND_NS)
    is_past = events["recv_ns"] < row_ns
    changed = tape([events[is_past], another_future(data, events[~is_past], row_ns)])
    until_ns = max(end_of(events), end_of(changed))
    one, other = (run(kernel, given_events, until_ns, checkpoint=before) for given_events in (events, changed))
    assert_same(one.only(one.row_ns <= row_ns), other.only(other.row_ns <= row_ns))
