"""What a writer of a tape leaves that died before it finished its segment."""

from __future__ import annotations

from pathlib import Path


def reopened(segment: Path) -> Path:
    """The finished segment as its writer would have left it by dying: open, and without its end in the segment log."""
    log = segment.parents[1] / "segments.index"
    name = f"{segment.parent.name}/{segment.name}"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if name not in line or '"finished"' not in line))
    return segment.rename(segment.with_suffix(".open"))
