"""Arrivals: how many messages of a period came late or again, as the worker that wrote the tape counted them."""

from __future__ import annotations

from dataclasses import dataclass, field

from market.events import ARRIVALS, Events


@dataclass(slots=True)
class KindCounts:
    """late: messages that came after their row was closed, by ``most_late_ns`` at most. repeated: that came again."""

    late: int = 0
    most_late_ns: int = 0
    repeated: int = 0


@dataclass(slots=True)
class Arrivals:
    """Adds up the counts of the minutes that begin in [begin, end), ns. by_kind: of kinds that had any."""

    begin_ns: int
    end_ns: int
    by_kind: dict[int, KindCounts] = field(default_factory=dict)

    def add(self, events: Events) -> None:
        """Take events; those of other kinds are passed by."""
        at_ns = events["event_ns"]
        for record in events[(events["kind"] == ARRIVALS) & (at_ns >= self.begin_ns) & (at_ns < self.end_ns)]:
            counts = self.by_kind.setdefault(int(record["field"]), KindCounts())
            counts.late += int(record["px"])
            counts.most_late_ns = max(counts.most_late_ns, int(record["update_id"]))
            counts.repeated += int(record["qty"])

    def of(self, kind: int) -> KindCounts:
        return self.by_kind.get(kind, KindCounts())
