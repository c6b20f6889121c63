"""Sources: what ingest can read, each with its clock and with what belongs to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from pydantic import SecretStr

from backfill.warm_up import WarmedSource
from ingestion.messages import RejectedLine, TimedMessage
from ingestion.rabbitmq.writing import HashExchange
from ingestion.source import Deliver, Source
from ingestion.sources.gateway.position_manager import PositionManager
from ingestion.sources.gateway.queues import GatewaySource, gateway_queues
from ingestion.sources.gateway.sharing import AskedSoon, Dispatcher, exchange_name, shard_queues
from ingestion.sources.gateway.subscriptions import Gateway, Subscriptions
from ingestion.sources.played.play import PlayClock
from ingestion.sources.played.recordings import read_recording
from ingestion.sources.played.source import PlayedSource
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.venues.bybit.rest import REST_URLS, BybitRest
from ingestion.venues.bybit.stream import PUBLIC_URLS, BybitSource
from ingestion.venues.bybit.venue import BYBIT
from ingestion.worker.steady_clock import SteadyClock, WorkerClock
from market.clock import DAY_NS, Clock
from market.errors import Conflict, InvalidSettings
from runtime.backfilling import exchange_history
from runtime.settings import Settings
from runtime.wiring import broker_address
from storage.tape import tape_symbols
from transforms.catalogue import set_candles
from transforms.rows import FeatureSet

SourceName = Literal["gateway", "bybit", "recording", "simulator"]
LEASED: Final = ("gateway", "bybit")
"""Sources whose symbols have one owner at a time."""
OF_BYBIT: Final = ("gateway", "bybit", "simulator")
"""Sources of which every message is in the words of one exchange."""
SIMULATED_NS: Final = 3650 * DAY_NS
"""Longer than a process lives; the market is made as it is played."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """What ingest reads, and how it plays what is played."""

    name: SourceName
    recording: Path | None = None
    speed: float = 1.0
    seed: int = 1


def check_choice(settings: Settings, choice: SourceChoice) -> None:
    """Raises InvalidSettings or Conflict where the settings or the data folder do not fit the source."""
    if choice.name == "gateway" and settings.rabbitmq_host is None:
        raise InvalidSettings("settings", ["RABBITMQ_HOST: must be set for --source gateway, was not set"])
    venue = settings.feature_service_market.venue
    if choice.name in OF_BYBIT and venue != BYBIT.name:
        raise InvalidSettings(
            "settings", [f"FEATURE_SERVICE_MARKET: must be of {BYBIT.name} for --source {choice.name}, was of {venue}"]
        )
    if choice.name == "simulator":
        known = [symbol.symbol for symbol in DEFAULT_SYMBOLS]
        unknown = [symbol for symbol in settings.feature_service_symbols if symbol not in known]
        if unknown:
            raise InvalidSettings(
                "settings",
                [f"FEATURE_SERVICE_SYMBOLS: the simulator knows {', '.join(known)}, was also {', '.join(unknown)}"],
            )
    # The recording's times lie before those of a tape that ran since: every message would count as late.
    if choice.name == "recording" and (taped := tape_symbols(settings.raw_folder)):
        raise Conflict(
            f"{settings.raw_folder}: must hold no tape before a recording is played, "
            f"holds {', '.join(taped)}; --data names another folder"
        )


@dataclass(frozen=True, slots=True)
class SourceParts:
    """A source, the clock that its messages go by, and what belongs to it.

    tasks: what runs next to it on the event loop. release: awaited once everything delivered is durable.
    subscriptions: their documents, for the status. figures: what it counts.
    """

    source: Source
    clock: WorkerClock
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    release: tuple[Callable[[], Awaitable[None]], ...] = ()
    subscriptions: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    figures: Callable[[], Mapping[str, float]] = dict


def make_source(settings: Settings, choice: SourceChoice, machine: Clock, *, shard: str | None = None) -> SourceParts:
    """The chosen source; of the gateway's messages those of one queue, where workers share them."""
    if choice.name == "gateway":
        return _gateway(settings, machine, shard)
    if choice.name == "bybit":
        return _bybit(settings, machine)
    messages: Iterator[TimedMessage | RejectedLine]
    if choice.name == "recording":
        assert choice.recording is not None, "the command line asks for it"
        messages = read_recording(choice.recording)
        clock = PlayClock(machine, begin_ns=None, speed=choice.speed)
    else:
        known = {symbol.symbol: symbol for symbol in DEFAULT_SYMBOLS}
        chosen = [known[symbol] for symbol in settings.feature_service_symbols]
        clock = PlayClock.from_now(machine, speed=choice.speed)
        messages = simulate(chosen, seed=choice.seed, start_ns=clock.now_ns(), duration_ns=SIMULATED_NS)
    return SourceParts(PlayedSource(messages, clock), clock)


def warmed(settings: Settings, choice: SourceChoice, parts: SourceParts, chosen: FeatureSet) -> SourceParts:
    """The source with the candles before it, where they are asked for and a feature looks at any.

    Of what is played there is nothing before, and which symbols a queue of several workers has, its messages say.
    """
    candles = set_candles(chosen)
    is_asked_for = settings.feature_service_backfill_auto and settings.feature_service_backfill_enabled
    is_shared = choice.name == "gateway" and settings.feature_service_shards is not None
    if choice.name not in LEASED or is_shared or not is_asked_for or candles == 0:
        return parts
    source = WarmedSource(
        parts.source,
        settings.feature_service_symbols,
        candles=candles,
        open_rest=partial(exchange_history, settings, clock=parts.clock),
        clock=parts.clock,
    )
    return replace(parts, source=source)


def _gateway(settings: Settings, machine: Clock, shard: str | None) -> SourceParts:
    address = broker_address(settings)
    clock = SteadyClock(machine, monotonic_ns)
    has_positions = settings.position_manager_host is not None
    queues = gateway_queues(
        trade_queue=settings.ws_gateway_trade_queue, has_positions=has_positions, kept=settings.ws_gateway_kept or ()
    )
    subscriptions = _subscriptions(settings, clock)
    positions = _positions(settings, clock)
    rest = BybitRest(
        settings.bybit_rest_url or REST_URLS[settings.bybit_environment],
        category=settings.feature_service_market.category,
    )
    tasks: list[Callable[[], Coroutine[Any, Any, None]]] = []
    release = [rest.close, *(each.close for each in (subscriptions, positions) if each is not None)]
    dispatcher: Dispatcher | None = None
    if shard is None:
        source = GatewaySource(
            address, queues, clock=clock, subscriptions=subscriptions, order_books=rest, positions=positions
        )
        if subscriptions is not None:
            tasks.append(subscriptions.run)
    else:
        source = GatewaySource(
            address, (shard,), clock=clock, subscriptions=subscriptions, order_books=rest, book_queue=shard
        )
        dispatcher = _dispatcher(settings, queues, clock, subscriptions, positions)
        tasks.append(dispatcher.run)
        release.insert(0, dispatcher.close)

    def figures() -> Mapping[str, float]:
        return {
            "broker_connections_total": source.connections,
            "broker_holes_total": source.holes,
            "broker_is_connected": float(source.is_connected),
            "order_books_taken_total": source.order_books_taken,
            "passed_on_total": 0 if dispatcher is None else dispatcher.passed_on,
            "clock_steps_total": clock.steps,
            "subscription_renewals_total": 0 if subscriptions is None else subscriptions.renewals,
            "subscription_failures_total": 0 if subscriptions is None else subscriptions.failures,
        }

    return SourceParts(
        source,
        clock,
        tasks=tuple(tasks),
        release=(source.release, *release),
        subscriptions=tuple if subscriptions is None else subscriptions.documents,
        figures=figures,
    )


def _subscriptions(settings: Settings, clock: Clock) -> Subscriptions | None:
    if settings.ws_gateway_host is None:
        _log.warning("WS_GATEWAY_HOST is not set: the queues are read, but nothing is subscribed")
        return None
    gateway = Gateway(settings.ws_gateway_host, settings.ws_gateway_port, api_key=_secret(settings.ws_gateway_api_key))
    has_positions = settings.position_manager_host is not None
    return Subscriptions(
        gateway,
        settings.feature_service_symbols,
        clock,
        has_positions=has_positions,
        kept=settings.ws_gateway_kept or (),
    )


def _positions(settings: Settings, clock: Clock) -> PositionManager | None:
    if settings.position_manager_host is None:
        return None
    return PositionManager(
        settings.position_manager_host,
        settings.position_manager_port,
        settings.feature_service_symbols,
        clock,
        api_key=_secret(settings.position_manager_api_key),
    )


def _dispatcher(
    settings: Settings,
    queues: Sequence[str],
    clock: Clock,
    subscriptions: Subscriptions | None,
    positions: PositionManager | None,
) -> Dispatcher:
    assert settings.feature_service_shards is not None, "a queue was taken of so many"
    beside: list[Callable[[Deliver], Coroutine[Any, Any, None]]] = []
    if subscriptions is not None:
        subscribe = subscriptions.run
        beside.append(lambda _deliver: subscribe())
    if positions is not None:
        beside.append(positions.run)
    address, shards = broker_address(settings), settings.feature_service_shards
    source = GatewaySource(
        address,
        queues,
        clock=clock,
        subscriptions=subscriptions,
        positions=None if positions is None else AskedSoon(positions),
    )
    return Dispatcher(source, HashExchange(address, exchange_name(shards), shard_queues(shards)), beside=beside)


def _bybit(settings: Settings, machine: Clock) -> SourceParts:
    clock = SteadyClock(machine, monotonic_ns)
    source = BybitSource(
        settings.feature_service_symbols,
        url=settings.bybit_stream_url
        or f"{PUBLIC_URLS[settings.bybit_environment]}/{settings.feature_service_market.category}",
        clock=clock,
        rng=Random(),  # noqa: S311  # the jitter of reconnections
    )

    def figures() -> Mapping[str, float]:
        return {
            "exchange_connections_total": source.connections,
            "repeated_total": source.repeated,
            "clock_steps_total": clock.steps,
        }

    return SourceParts(source, clock, subscriptions=source.documents, figures=figures)


def _secret(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def monotonic_ns() -> int:
    """Time that passes whatever the clock is set to, and while the machine sleeps too."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
