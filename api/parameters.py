"""Parameters that several routes take, each with what the reference says of it."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from fastapi import Path, Query

from api.wire_times import Moment

_PERIOD_BEGINS: Final = "Beginning of the period, which belongs to it; a time without an offset is UTC."
_PERIOD_ENDS: Final = "End of the period, which does not belong to it."
LONGEST_NAME: Final = 64
LONGEST_VERSION: Final = 40

Symbol: TypeAlias = Annotated[str, Query(max_length=LONGEST_NAME, min_length=1, description="Symbol, e.g. BTCUSDT.")]
OnlySymbol: TypeAlias = Annotated[
    str | None, Query(max_length=LONGEST_NAME, min_length=1, description="Only this symbol; default: all.")
]
From: TypeAlias = Annotated[Moment, Query(alias="from", description=_PERIOD_BEGINS)]
To: TypeAlias = Annotated[Moment, Query(alias="to", description=_PERIOD_ENDS)]
MaybeFrom: TypeAlias = Annotated[Moment | None, Query(alias="from", description=_PERIOD_BEGINS)]
MaybeTo: TypeAlias = Annotated[Moment | None, Query(alias="to", description=_PERIOD_ENDS)]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=1000, description="Maximum number of entries.")]
RegistryVersion: TypeAlias = Annotated[
    str | None,
    Query(min_length=1, max_length=LONGEST_VERSION, description="Registry version; default: the served one."),
]
ServedOrBeside: TypeAlias = Annotated[
    Literal["served", "beside"],
    Query(description="Rows that were served, or those of a version that was served next to the active one."),
]
DatasetId: TypeAlias = Annotated[str, Path(description="Id of the dataset.")]
"""In the path."""
