"""Historical features with the proof that each value was available at the requested time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ViewEvidence:
    """Evidence for one view. Leads are in ns, at most zero if nothing came from the future; None: no row.

    rows: entity rows. found: those that have a row of the view. violations: those whose row was from after the
    requested time, or could be read only after it. undated: those whose row does not state when it could be read.
    """

    rows: int
    found: int
    violations: int
    undated: int
    latest_event_lead_ns: int | None
    latest_created_lead_ns: int | None


@dataclass(frozen=True, slots=True)
class PitReport:
    """Evidence by view, taken from the times of the rows that the values came from."""

    views: dict[str, ViewEvidence]

    @property
    def violations(self) -> int:
        return sum(view.violations for view in self.views.values())

    @property
    def is_proven(self) -> bool:
        """Whether every value could be read at the requested time, and none was from after it."""
        return self.violations == 0 and not self.undated_views

    @property
    def undated_views(self) -> list[str]:
        """Views with rows that do not state when they could be read: their values may be from the future."""
        return [name for name, view in self.views.items() if view.undated]


def pit_report(provenance: pa.Table) -> PitReport:
    """The report on ``AsOfRetrievalJob.to_provenance()``."""
    import numpy as np
    import pyarrow as pa

    def ns(name: str) -> Any:  # noqa: ANN401  # an array of a length that numpy cannot spell
        times = provenance[name].cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
        return times.fill_null(cast("Any", 0)).to_numpy()

    asked = ns("asked")
    views = {}
    for name in provenance.column_names:
        view, suffix, _ = name.rpartition("__event")
        if not suffix:
            continue
        is_found = provenance[name].is_valid().to_numpy()
        event_lead = (ns(name) - asked)[is_found]
        created = f"{view}__created"
        # The join takes a row without a creation time as one that is created at its event.
        is_dated, known_ns = np.zeros(len(asked), np.bool_), ns(name)
        if created in provenance.column_names:
            is_dated = provenance[created].is_valid().to_numpy()
            known_ns = np.where(is_dated, ns(created), known_ns)
        created_lead = (known_ns - asked)[is_found]
        views[view] = ViewEvidence(
            rows=len(asked),
            found=int(is_found.sum()),
            violations=int(((event_lead > 0) | (created_lead > 0)).sum()),
            undated=int((is_found & ~is_dated).sum()),
            latest_event_lead_ns=int(event_lead.max()) if len(event_lead) else None,
            latest_created_lead_ns=int(created_lead.max()) if len(created_lead) else None,
        )
    return PitReport(views)
