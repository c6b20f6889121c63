"""The table of figures in benchmarks/README.md, between its two markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

README: Final = Path(__file__).with_name("README.md")
_BEGIN: Final = "<!-- figures -->\n"
_END: Final = "<!-- end of figures -->\n"
_HEADINGS: Final = ("figure", "value", "yardstick", "ratio", "better", "goal", "required", "date", "machine")


def write(lines: Sequence[Mapping[str, Any]]) -> None:
    """Put the figures into the table: one of the same name is replaced, others stay, new ones come last."""
    before, _, rest = README.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    rows = _rows()
    rows |= {str(line["figure"]): _row(line) for line in lines}
    written = [_HEADINGS, ("---",) * len(_HEADINGS), *rows.values()]
    README.write_text(before + _BEGIN + "".join(f"| {' | '.join(cells)} |\n" for cells in written) + _END + after)


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    yardstick = "-" if line["yardstick"] is None else f"{line['yardstick']}: {_number(line['yardstick_value'])}"
    return (
        str(line["figure"]),
        f"{_number(line['value'])} {line['unit']}",
        yardstick,
        "-" if line["ratio"] is None else _number(line["ratio"]),
        str(line["better"]),
        str(line["goal"]),
        str(line["required"]),
        str(line["date"]),
        str(line["machine"]),
    )


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def figures() -> dict[str, float]:
    """The value of every figure in the table, by its name, in the unit that stands there."""
    return {name: float(cells[1].partition(" ")[0].replace(",", "")) for name, cells in _rows().items()}


def _rows() -> dict[str, tuple[str, ...]]:
    """The cells of every figure in the table, by its name."""
    table = README.read_text().partition(_BEGIN)[2].partition(_END)[0]
    return {cells[0]: cells for line in table.splitlines()[2:] if (cells := _cells(line))}


def beside_the_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The figures of a run, each with its goal and what stands in the table; of another machine only ratios compare."""
    rows = _rows()
    found = [("figure", "now", "goal", "in the table", "now / table", "of")]
    for line in lines:
        known = rows.get(str(line["figure"]))
        before = None if known is None else float(known[1].partition(" ")[0].replace(",", ""))
        found.append(
            (
                str(line["figure"]),
                f"{_number(line['value'])} {line['unit']}",
                str(line["goal"]),
                "-" if known is None else known[1],
                "-" if not before else f"{line['value'] / before:.2f}",
                "-" if known is None else known[7],
            )
        )
    widths = [max(len(row[at]) for row in found) for at in range(len(found[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in found
    )
