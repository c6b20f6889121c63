"""The types of settings: what text a variable may hold, and what is made of it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf
from pydantic_settings import NoDecode

from market.errors import InvalidRequest
from market.markets import Market
from storage.objects.path import ObjectPath
from storage.places import place_of

_SYMBOL = re.compile(r"[A-Z0-9]+")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def _split_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _check_symbols(symbols: tuple[str, ...]) -> tuple[str, ...]:
    if any(_SYMBOL.fullmatch(symbol) is None for symbol in symbols) or len(set(symbols)) != len(symbols) or not symbols:
        raise ValueError("must be different symbols of capital letters and digits, separated by commas")
    return symbols


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(names):
        raise ValueError("must be names separated by commas, none of them empty")
    return names


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if any(origin != "*" and _ORIGIN.fullmatch(origin) is None for origin in origins):
        raise ValueError("must be origins such as https://console.example, separated by commas, or *")
    return origins


def _parsed_place(value: object) -> object:
    try:
        return place_of(value) if isinstance(value, str) else value
    except InvalidRequest as error:
        raise ValueError(str(error).partition(": ")[2].partition(", was")[0]) from error


def _check_is_here(path: Path | None) -> Path | None:
    if path is not None and _SCHEME.match(str(path)) is not None:
        raise ValueError("must be a folder of this machine")
    return path


def _check_is_whole(place: object) -> object:
    if isinstance(place, Path) and place.parts[:1] and place.parts[0].startswith("~"):
        raise ValueError("must be a whole path, ~ is a shell's")  # it would be a folder of that name
    return place


def check_divides_hour(seconds: int) -> int:
    if 3600 % seconds:
        raise ValueError("must divide an hour")
    return seconds


def parsed_market(value: object) -> object:
    return Market.parse(value) if isinstance(value, str) else value


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1, le=1 << 53)]
"""As many as a float64 still tells apart."""
Days = Annotated[int, Field(ge=1, le=36_500)]
"""Up to a hundred years: int64 nanoseconds reach back to 1677 alone, and a datetime to the year 1."""
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
"""Up to a year: no clock or timer overflows at it."""
Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Symbols = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list), AfterValidator(_check_symbols)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list), AfterValidator(_check_origins)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list), AfterValidator(_check_names)]
KeptChannels = Annotated[
    tuple[Literal["funding", "order", "order_manager"], ...], NoDecode, BeforeValidator(_split_list)
]
CatalogName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
LogFormat = Literal["json", "console"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
RowGrid = Annotated[
    Literal["50ms", "100ms", "200ms", "250ms", "500ms", "1s"],
    BeforeValidator(lambda value: value.replace(" ", "") if isinstance(value, str) else value),
]


StoragePlace = Annotated[
    InstanceOf[Path] | InstanceOf[ObjectPath], BeforeValidator(_parsed_place), AfterValidator(_check_is_whole)
]
Folder = Annotated[Path, AfterValidator(_check_is_here), AfterValidator(_check_is_whole)]
