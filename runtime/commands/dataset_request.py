"""The request of ``dataset build``: of its options, or of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from market.clock import MILLISECOND_NS
from runtime.commands.options import parse_time_ns, registry_of

if TYPE_CHECKING:
    from runtime.settings import Settings
    from training_sets.request.features import FeatureChoice
    from training_sets.request.folds import Period
    from training_sets.request.request import DatasetRequest, SampleKind

PERIOD_NAMES = ("train", "validation", "test")


def request_of_file(path: Path, settings: Settings, registry: str | None) -> DatasetRequest:
    """The request of a JSON file; a field that is wrong is a wrong usage."""
    from pydantic import ValidationError

    from api.build_request import BuildRequest

    try:
        return BuildRequest.model_validate_json(path.read_bytes()).to_request(registry_of(settings, registry))
    except (OSError, ValidationError) as error:
        raise typer.BadParameter(str(error), param_hint="--request") from None


def plain_request(
    symbols: list[str],
    begin: str | None,
    end: str | None,
    sides: tuple[str | None, ...],
    *,
    horizon: str,
    sample_interval: str,
    sample_kind: str,
    read_delay_ms: int,
    registry: str,
    features: FeatureChoice | None = None,
    calendar: str | None = None,
) -> DatasetRequest:
    """The request of the options: one return, split by time."""
    if not symbols:
        raise typer.BadParameter("must be given, or --request", param_hint="--symbol")
    if (begin is None or end is None) == any(side is None for side in sides) or (
        (begin, end) != (None, None) and any(side is not None for side in sides)
    ):
        raise typer.BadParameter("give either --from and --to, or --train-start to --test-end, all six")
    from training_sets.request.folds import TimeBased
    from training_sets.request.request import DatasetRequest
    from training_sets.request.sessions import over_sessions
    from training_sets.request.targets import RegressionTarget

    if calendar is not None:
        sample_interval = "1d"
    request = DatasetRequest(
        symbols=tuple(symbols),
        strategy=TimeBased(_periods(begin, end, sides)),
        targets=(RegressionTarget(_duration_ns(horizon, "--horizon")),),
        registry_version=registry,
        sample_interval_ns=_duration_ns(sample_interval, "--sample-interval"),
        sample_kind=_sample_kind(sample_kind),
        read_delay_ns=read_delay_ms * MILLISECOND_NS,
        features=features,
    )
    return request if calendar is None else over_sessions(request, calendar)


def feature_choice(references: list[str] | None, keys: list[str] | None, *, is_beside: bool) -> FeatureChoice | None:
    """What --feature and --feature-key name; None where there is no --feature."""
    from training_sets.request.features import FeatureChoice

    if not references:
        if keys:
            raise typer.BadParameter("must be given with --feature", param_hint="--feature-key")
        return None
    values: dict[str, str | int] = {}
    for each in keys or ():
        key, separator, value = each.partition("=")
        if not separator:
            raise typer.BadParameter(f"must be key=value, was {each!r}", param_hint="--feature-key")
        values[key] = value
    return FeatureChoice(tuple(references), is_beside=is_beside, keys=values)


def _periods(begin: str | None, end: str | None, sides: tuple[str | None, ...]) -> tuple[Period, ...]:
    from training_sets.request.folds import Period, default_periods

    if begin is not None and end is not None:
        return default_periods(given_time_ns(begin, "--from"), given_time_ns(end, "--to"))
    options = [f"--{name}-{side}" for name in PERIOD_NAMES for side in ("start", "end")]
    times = [given_time_ns(side, option) for side, option in zip(sides, options, strict=True)]
    return tuple(Period(name, times[2 * at], times[2 * at + 1]) for at, name in enumerate(PERIOD_NAMES))


def given_time_ns(text: str | None, option: str) -> int:
    """Nanoseconds of an ISO time option that must be given. Raises typer.BadParameter naming the option."""
    time_ns = parse_time_ns(text, option)
    if time_ns is None:
        raise typer.BadParameter("must be given", param_hint=option)
    return time_ns


def _duration_ns(text: str, option: str) -> int:
    from market.clock import parse_duration_ns

    try:
        return parse_duration_ns(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _sample_kind(text: str) -> SampleKind:
    match text:
        case "on_row" | "at_time":
            return text
        case _:
            raise typer.BadParameter(f"must be on_row or at_time, was {text!r}", param_hint="--sample-kind")
