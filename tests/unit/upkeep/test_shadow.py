"""Served rows are computed again from the tape behind a real pipeline; each harm to them is named, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import HOUR_NS, SECOND_NS
from market.events import TRADE
from storage.online.vector import OnlineVector
from tests.shadowed import ShadowedMarket, flipped
from transforms.kernel import Kernel, compile_kernel
from transforms.status import QUARANTINED
from upkeep.shadow import FINAL_S, MOST_WAITING, OLDER, PUBLISHED, STORED, ShadowLook

SYMBOL = "BTCUSDT"
BEGIN_NS = 1_780_000_000 * SECOND_NS
VERSION = "1.0.0"
LOOKS = 4
LOOK_S = 5
"""Between two looks: what is wrong is named by the second one after it, in less than a minute."""


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


Shadowed = Callable[..., ShadowedMarket]


@pytest.fixture
def shadowed(tmp_path: Path, kernel: Kernel) -> Iterator[Shadowed]:
    """Makes the market that is served."""
    made: list[ShadowedMarket] = []

    def make(**others: Any) -> ShadowedMarket:  # noqa: ANN401  # as the market takes them
        messages = simulate(DEFAULT_SYMBOLS[:1], seed=7, start_ns=BEGIN_NS, duration_ns=HOUR_NS)
        made.append(ShadowedMarket(tmp_path, SYMBOL, kernel, messages, **others))
        return made[-1]

    yield make
    for each in made:
        with closing(each.pipeline):
            pass


def looks(market: ShadowedMarket, count: int = LOOKS) -> list[ShadowLook]:
    found = []
    for _ in range(count):
        market.run(LOOK_S)
        found.append(market.look())
    return found


def compared(found: list[ShadowLook]) -> int:
    return sum(each.compared for each in found)


def test_every_row_that_was_served_is_compared_and_agrees_with_the_tape(shadowed: Shadowed) -> None:
    market = shadowed()
    found = looks(market)
    assert all(each.mismatched == 0 and not each.mismatches and not each.not_compared for each in found)
    # What came within the time that messages take to the tape waits for the next look.
    assert compared(found) == len([each for each in market.vectors if each.row_ns <= (found[-1].last_row_ns or 0)])
    assert compared(found) > 150


def test_a_shadow_that_begins_beside_a_worker_that_runs_agrees_with_it(shadowed: Shadowed) -> None:
    market = shadowed()
    market.harm = lambda vector: flipped(vector, "mid_price")  # nobody looks yet
    market.run(30)
    market.harm = lambda vector: vector
    market.shadow = type(market.shadow)(market.source, SYMBOL)
    found = looks(market)
    assert compared(found) > 150
    assert sum(each.mismatched for each in found) == 0


def test_a_flipped_bit_of_a_published_row_is_named(shadowed: Shadowed) -> None:
    market = shadowed()
    looks(market)
    flipped_ns: list[int] = []

    def once(vector: OnlineVector) -> OnlineVector:
        if flipped_ns:
            return vector
        flipped_ns.append(vector.row_ns)
        return flipped(vector, "mid_price")

    market.harm = once
    [found] = [each for each in looks(market, 2) if each.mismatches]
    [named] = found.mismatches
    assert (named.row_ns, named.group, named.feature, named.where) == (flipped_ns[0], "price", "mid_price", PUBLISHED)
    assert named.served != named.computed
    assert (named.rows, found.mismatched) == (1, 1)


def test_a_flipped_bit_of_the_row_that_stands_in_the_online_store_is_named(shadowed: Shadowed) -> None:
    market = shadowed()
    looks(market)
    stored = market.vectors[-1]
    market.shadow.take_stored(stored, market.now_s)  # as it was published: nothing to compare
    market.shadow.take_stored(flipped(stored, "spread_bps" if "spread_bps" in stored.columns else "mid_price"), 0.0)
    market.now_s += FINAL_S  # no message comes any more
    found = market.look()
    [named] = found.mismatches
    assert (named.row_ns, named.where, found.mismatched) == (stored.row_ns, STORED, 1)
    market.shadow.take_stored(flipped(stored, "mid_price"), market.now_s)
    market.now_s += FINAL_S
    assert [each.feature for each in market.look().mismatches] == ["mid_price"], "it stands there still"


def test_a_row_that_is_read_from_the_online_store_before_its_readers_are_told_is_compared_too(
    shadowed: Shadowed,
) -> None:
    market = shadowed()
    looks(market)
    read: list[OnlineVector] = []

    def read_first(vector: OnlineVector) -> OnlineVector:
        if not read:
            market.shadow.take_stored(vector, market.now_s)  # as it is published then: nothing to compare
        if len(read) == 1:
            market.shadow.take_stored(flipped(vector, "mid_price"), market.now_s)
        read.append(vector)
        return vector

    market.harm = read_first
    [found] = [each for each in looks(market, 2) if each.mismatches]
    [named] = found.mismatches
    assert (named.row_ns, named.feature, named.where, named.rows) == (read[1].row_ns, "mid_price", STORED, 1)


def test_a_stored_row_that_others_overtook_while_it_was_read_is_compared_once(shadowed: Shadowed) -> None:
    market = shadowed()
    before = looks(market)
    market.run(1)
    market.shadow.take_stored(market.vectors[-5], market.now_s)
    found = [*before, *looks(market, 2)]
    assert compared(found) == len([each for each in market.vectors if each.row_ns <= (found[-1].last_row_ns or 0)])


def test_a_row_that_its_readers_were_never_told_of_is_compared_as_it_was_stored(shadowed: Shadowed) -> None:
    market = shadowed()
    looks(market)
    read: list[int] = []

    def store_another(vector: OnlineVector) -> OnlineVector:
        if not read:
            read.append(vector.row_ns)
            market.shadow.take_stored(replace(flipped(vector, "mid_price"), available_ns=vector.row_ns + 1), 0.0)
        return vector

    market.harm = store_another
    [found] = [each for each in looks(market, 2) if each.mismatches]
    assert [(each.row_ns, each.where) for each in found.mismatches] == [(read[0], STORED)]


def test_a_reason_that_was_served_wrongly_is_named_where_the_value_is_unknown_on_both_sides(
    shadowed: Shadowed,
) -> None:
    market = shadowed()
    market.harm = lambda vector: replace(vector, missing=dict.fromkeys(vector.missing, "NO_DATA"))
    found = looks(market, 2)
    named = [each for look in found for each in look.mismatches]
    assert named
    assert all("NO_DATA" in each.served and "WARMUP" in each.computed for each in named)


def test_a_message_that_the_engine_missed_is_named(shadowed: Shadowed) -> None:
    market = shadowed()
    looks(market)
    lane = market.pipeline.lanes[SYMBOL]
    feed = lane.engine.feed
    missed: list[Any] = []

    def lossy(records: Any, *, from_ns: int | None = None) -> None:  # noqa: ANN401  # an engine's records
        if not missed and int(records["kind"][0]) == TRADE:
            missed.append(records)
        else:
            feed(records, from_ns=from_ns)

    lane.engine.feed = lossy  # type: ignore[method-assign]
    found = looks(market, 3)
    assert missed
    assert {each.group for look in found for each in look.mismatches} == {"orderflow"}
    first = min((each for look in found for each in look.mismatches), key=lambda each: each.row_ns)
    assert 0 < first.row_ns - int(missed[0]["recv_ns"][0]) <= SECOND_NS


def test_a_kernel_that_is_not_the_one_of_the_version_is_named(shadowed: Shadowed, kernel: Kernel) -> None:
    column = kernel.feature_set.columns.index("mid_price")

    def other(state: Any, events: Any, until_ns: Any, due_ns: Any, values: Any, *room: Any) -> int:  # noqa: ANN401
        applied = kernel.run(state, events, until_ns, due_ns, values, *room)
        values[:, column] += 1e-9
        return applied

    other.__module__ = kernel.run.__module__
    market = shadowed(served_by=replace(kernel, run=other))
    found = looks(market)
    assert {each.feature for look in found for each in look.mismatches} == {"mid_price"}
    assert sum(each.mismatched for each in found) == compared(found) > 150


def test_a_withheld_group_is_not_compared_and_the_others_are(shadowed: Shadowed) -> None:
    market = shadowed()

    def withheld(vector: OnlineVector) -> OnlineVector:
        served = flipped(vector, "mid_price")
        return replace(served, statuses={**served.statuses, "price": QUARANTINED})

    market.harm = withheld
    found = looks(market)
    assert sum(each.mismatched for each in found) == 0
    assert sum(each.quarantined for each in found) == compared(found) > 150


def test_what_cannot_be_compared_is_counted_by_its_reason(shadowed: Shadowed, kernel: Kernel) -> None:
    market = shadowed()
    market.harm = lambda vector: replace(vector, fingerprint="another", version="9.9.9")
    found = looks(market, 2)
    assert compared(found) == 0
    assert sum(found[-1].not_compared.values()) > 0
    assert set(found[-1].not_compared) == {f"the row is of registry 9.9.9, not of {VERSION}"}
    market.harm = lambda vector: vector
    looks(market)
    first = market.vectors[-100]
    market.shadow.take_published(first, market.now_s)
    market.shadow.miss(3, "the feed was away")
    [last] = looks(market, 1)
    assert last.not_compared["the feed was away"] == 3
    assert sum(each.not_compared[OLDER] for each in [last, *looks(market, 2)]) == 1


def test_rows_that_wait_are_bounded(shadowed: Shadowed) -> None:
    market = shadowed()
    market.run(1)
    for _ in range(MOST_WAITING + 5):
        market.shadow.take_published(market.vectors[-1], market.now_s)
    assert sum(market.look().not_compared.values()) >= 5


def test_a_tape_that_is_gone_is_a_reason_and_the_next_look_begins_anew(shadowed: Shadowed, tmp_path: Path) -> None:
    market = shadowed()
    looks(market)
    market.run(LOOK_S)
    market.sync()
    (tmp_path / "tape" / SYMBOL).rename(tmp_path / "away")
    found = market.shadow.look(market.now_s)
    (tmp_path / "away").rename(tmp_path / "tape" / SYMBOL)
    assert found.compared == 0
    assert sum(found.not_compared.values()) > 0
    assert compared(looks(market)) > 150
