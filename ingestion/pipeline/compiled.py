"""The compiled code of ingest beside the kernel: loaded, or compiled, before a symbol is followed.

What is compiled with the first message instead lets all others wait: for a minute, on a machine that is busy.
"""

from __future__ import annotations

from ingestion.pipeline.batches import load_batches
from ingestion.pipeline.kept_ids import KeptIds
from ingestion.venues.decoders import Decoders
from market.events import empty_events
from transforms.tape_order import earliest_ns, slot_by_slot


def load_compiled(decoders: Decoders) -> None:
    """Load what takes messages, for every later pipeline of the process. decoders: of the venue; used by no other."""
    load_batches(decoders)
    ids = KeptIds(has_times=True)
    ids.keep("one", 0)
    ids.forget(1)
    ids.restore(ids.entries())
    ids.seq_of("another")
    ids.keeps_any(["third"])
    ids.count_before(0, 1)
    earliest_ns(slot_by_slot(empty_events(1)))
