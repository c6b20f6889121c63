"""The benchmarks' command line: ``python -m benchmarks [--list] [--write] [NAME ...]``, JSON lines and then a table."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import (
    as_of_join,
    backfill,
    console,
    dataset,
    days,
    decoding,
    engines,
    equities,
    exchange,
    growth,
    http,
    live,
    offline,
    online,
    push,
    quality,
    ray_retrieval,
    reaction,
    read,
    readme,
    recovery,
    retrieval,
    rows,
    scale,
    sequences,
    shadow,
    start,
)
from benchmarks.measure import Figure, machine

_MODULES: Final = (
    offline,
    days,
    online,
    live,
    exchange,
    rows,
    reaction,
    push,
    http,
    read,
    recovery,
    scale,
    engines,
    as_of_join,
    retrieval,
    ray_retrieval,
    equities,
    quality,
    decoding,
    shadow,
    dataset,
    sequences,
    backfill,
    growth,
    console,
    start,
)
BENCHMARKS: Final[dict[str, Callable[[Path], Iterator[Figure]]]] = {
    **{module.__name__.rpartition(".")[2]: module.run for module in _MODULES},
    "month": days.run_month,
}
SUMMARIES: Final = {
    **{module.__name__.rpartition(".")[2]: (module.__doc__ or "").strip() for module in _MODULES},
    "month": (days.run_month.__doc__ or "").strip(),
}
ONLY_BY_NAME: Final = {"month"}
"""Too long to run with the others."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="One JSON line a figure.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(BENCHMARKS)}; without one all but {', '.join(ONLY_BY_NAME)}",
    )
    parser.add_argument("--list", action="store_true", help="say what there is and stop")
    parser.add_argument("--write", action="store_true", help="put the figures into the table of benchmarks/README.md")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"NAME: must be of {', '.join(BENCHMARKS)}, was {', '.join(unknown)}")
    if arguments.list:
        for name, summary in SUMMARIES.items():
            print(f"{name:<12} {summary}")
        return
    date, where = datetime.now(UTC).date().isoformat(), machine()
    lines = []
    with tempfile.TemporaryDirectory(prefix="feature-service-bench-") as folder:
        for name in arguments.names or [name for name in BENCHMARKS if name not in ONLY_BY_NAME]:
            for figure in BENCHMARKS[name](Path(folder)):
                lines.append(figure.line(date=date, machine=where))
                print(json.dumps(lines[-1]), flush=True)
    # Not among the lines of JSON, which programs read.
    print(readme.beside_the_table(lines), file=sys.stderr)
    if arguments.write:
        readme.write(lines)


if __name__ == "__main__":
    main()
