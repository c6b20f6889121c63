"""Subscriptions over real HTTP: what is asked for, when it is asked again, and how a snapshot is had."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from ingestion.sources.gateway.subscriptions import (
    RETRIES_S,
    RETRY_S,
    SILENCE_S,
    Gateway,
    RefusedByGateway,
    Subscriptions,
)
from market.clock import SECOND_NS, ManualClock
from market.errors import StoreUnavailable
from tests.gateway import SubscriptionApi

B = 1_772_000_000 * SECOND_NS
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
def api() -> Iterator[SubscriptionApi]:
    opened = SubscriptionApi()
    yield opened
    opened.close()


def kept(
    api: SubscriptionApi, act: Callable[[Subscriptions, ManualClock], Awaitable[None]], *, api_key: str | None = None
) -> Subscriptions:
    """Do something with the subscriptions of a gateway, which are closed afterwards."""
    clock = ManualClock(B)

    async def run() -> Subscriptions:
        gateway = Gateway("127.0.0.1", api.port, api_key=api_key or api.api_key)
        subscriptions = Subscriptions(gateway, SYMBOLS, clock)
        try:
            await act(subscriptions, clock)
        finally:
            await subscriptions.close()
        return subscriptions

    return asyncio.run(run())


def test_what_is_kept_besides_is_subscribed_where_it_is_of_the_gateway(api: SubscriptionApi) -> None:
    async def run() -> None:
        kept_too = ("funding", "order", "order_manager")
        gateway = Gateway("127.0.0.1", api.port, api_key=api.api_key)
        subscriptions = Subscriptions(gateway, SYMBOLS, ManualClock(B), kept=kept_too)
        await one_round(subscriptions)
        await subscriptions.close()
        asked = {(each["channel_type"], each["symbol"]) for each in subscriptions.documents()}
        assert asked == {(channel, symbol) for symbol in SYMBOLS for channel in (*SILENCE_S, "funding", "order")}

    asyncio.run(run())


async def one_round(subscriptions: Subscriptions) -> None:
    """What ``run`` does before its first pause."""
    due = subscriptions.rounds + 1
    running = asyncio.create_task(subscriptions.run())
    async with asyncio.timeout(10):
        while subscriptions.rounds < due:  # noqa: ASYNC110  # it tells nobody when a round is over
            await asyncio.sleep(0.001)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def posted(api: SubscriptionApi) -> Counter[tuple[str, str]]:
    return Counter((body["channel_type"], body["symbol"]) for method, _, body in api.calls if method == "POST")


def test_every_symbol_is_subscribed_to_every_channel_once(api: SubscriptionApi) -> None:
    async def act(subscriptions: Subscriptions, _clock: ManualClock) -> None:
        await one_round(subscriptions)
        await one_round(subscriptions)

    subscriptions = kept(api, act)
    assert posted(api) == Counter({(channel, symbol): 1 for channel in SILENCE_S for symbol in SYMBOLS})
    assert {body["requesting_service"] for _, _, body in api.calls} == {"feature-service"}
    assert {(each["topic"], each["last_message_at"]) for each in subscriptions.documents()} == {
        (f"{channel}.{symbol}", None) for channel in SILENCE_S for symbol in SYMBOLS
    }


def test_a_failed_subscription_is_tried_again_after_1_2_and_4_and_then_every_30_seconds(api: SubscriptionApi) -> None:
    async def act(subscriptions: Subscriptions, clock: ManualClock) -> None:
        for pause_s in (*RETRIES_S, RETRY_S, RETRY_S):
            api.failures = [503] * 8
            await one_round(subscriptions)
            assert api.failures == []
            clock.set(clock.now_ns() + int(pause_s * SECOND_NS) - 1)
            await one_round(subscriptions)
            clock.set(clock.now_ns() + 1)

    assert kept(api, act).failures == 8 * 5


@pytest.mark.parametrize(("status", "is_tried_soon"), [(429, True), (403, False)])
def test_a_refusal_waits_for_half_a_minute_but_no_room_is_tried_again_soon(
    api: SubscriptionApi, status: int, *, is_tried_soon: bool
) -> None:
    async def act(subscriptions: Subscriptions, clock: ManualClock) -> None:
        api.failures = [status] * 8
        await one_round(subscriptions)
        clock.set(B + SECOND_NS)
        await one_round(subscriptions)

    kept(api, act)
    assert len(api.calls) == (16 if is_tried_soon else 8)


def test_a_channel_that_is_silent_for_too_long_is_subscribed_again(api: SubscriptionApi) -> None:
    limit_ns = SILENCE_S["orderbook"] * SECOND_NS

    async def act(subscriptions: Subscriptions, clock: ManualClock) -> None:
        await one_round(subscriptions)
        subscriptions.note("orderbook", "BTCUSDT", B + SECOND_NS)
        clock.set(B + limit_ns + 1)
        await one_round(subscriptions)

    assert kept(api, act).renewals == 1
    assert posted(api)["orderbook", "BTCUSDT"] == 1
    assert posted(api)["orderbook", "ETHUSDT"] == 2


def test_a_snapshot_is_asked_for_by_deleting_and_posting_the_order_book(api: SubscriptionApi) -> None:
    async def act(subscriptions: Subscriptions, _clock: ManualClock) -> None:
        await one_round(subscriptions)
        api.calls.clear()
        await subscriptions.request_snapshot("ETHUSDT")

    kept(api, act)
    assert [(method, body.get("symbol"), body.get("channel_type")) for method, _, body in api.calls] == [
        ("DELETE", None, None),
        ("POST", "ETHUSDT", "orderbook"),
    ]


def test_a_subscription_that_is_gone_already_is_posted_all_the_same(api: SubscriptionApi) -> None:
    async def act(subscriptions: Subscriptions, _clock: ManualClock) -> None:
        await one_round(subscriptions)
        api.subscriptions.clear()
        await subscriptions.request_snapshot("ETHUSDT")

    assert kept(api, act).failures == 0
    assert len(api.subscriptions) == 1


def test_a_gateway_that_says_no_or_nothing_is_told_apart(api: SubscriptionApi) -> None:
    async def run() -> None:
        refusing = Gateway("127.0.0.1", api.port, api_key="wrong")
        with pytest.raises(RefusedByGateway, match="401"):
            await refusing.subscribe("ticker", "BTCUSDT")
        await refusing.close()
        port = api.port
        api.close()
        away = Gateway("127.0.0.1", port, api_key=None)
        with pytest.raises(StoreUnavailable, match="no answer"):
            await away.subscribe("ticker", "BTCUSDT")
        await away.close()

    asyncio.run(run())
