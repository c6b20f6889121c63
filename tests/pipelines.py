"""A pipeline of a folder, as tests open one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_as_if_live
from storage.instruments import InstrumentPins
from transforms.kernel import Kernel


def pipeline_in(raw: Path, kernel: Kernel, *sinks: Any, **more: Any) -> Pipeline:  # noqa: ANN401
    """Tape, instruments and dead letter are in ``raw``, rows are available as if served; ``more`` is Pipeline's."""
    return Pipeline(
        kernel,
        InstrumentPins(raw),
        raw_folder=raw,
        dead_letter=DeadLetter(raw / "dead_letter.jsonl"),
        sinks=list(sinks),
        **{"availability": available_as_if_live, **more},
    )
