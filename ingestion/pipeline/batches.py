"""Batches: many messages taken at once, to the same tapes, states and rows as one after the other.

1. Compiled code reads all of them in one call.
2. What asks for nothing but to be taken is collected in a run of its symbol, in order; everything that a message can
   ask for besides is for ``Pipeline.handle``: a duplicate, a gap, a snapshot, an objection, a new symbol, bad bytes.
   Before such a message the runs are taken.
3. Runs are taken together: one call stamps and groups their records, one makes their frames, and each lane's tape and
   engine take a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ingestion.decoding.batch import COUNT, FIRST, TOPIC, Batch
from ingestion.messages import TimedMessage
from ingestion.pipeline.counters import Counters
from ingestion.pipeline.lane_run import LaneRun
from ingestion.pipeline.lanes import Lanes
from ingestion.venues.decoders import Decoders
from market.events import EVENT
from storage.tape import frame_block
from transforms.jit import jit_alone

OnDurable = Callable[[], object]


class Handle(Protocol):
    """Takes one message; ``Pipeline.handle``."""

    def __call__(self, message: TimedMessage, *, on_durable: OnDurable | None = None) -> None: ...


class Batches:
    """Takes batches for one pipeline, whose ``handle`` takes what is no part of a run."""

    def __init__(self, decoders: Decoders, lanes: Lanes, counters: Counters, handle: Handle) -> None:
        self._decoders = decoders
        self._lanes = lanes
        self._counters = counters
        self._handle = handle

    def take(self, messages: Sequence[TimedMessage], on_durable: Sequence[OnDurable | None]) -> None:
        """Take messages in their order."""
        # One alone is taken sooner by itself.
        decoder = self._decoders.of_all([message.recv_ns for message in messages]) if len(messages) > 1 else None
        batch = None if decoder is None else decoder.read_batch([message.body for message in messages])
        if decoder is None or batch is None:
            for message, told in zip(messages, on_durable, strict=True):
                self._handle(message, on_durable=told)
            return
        in_runs = 0
        runs: dict[str, LaneRun] = {}
        topics = batch.topics
        for at, (message, row) in enumerate(zip(messages, batch.rows.tolist(), strict=True)):
            if row[TOPIC] >= 0:
                topic = topics[row[TOPIC]]
                run = runs.get(topic.symbol) or self._begin(topic.symbol, runs)
                if run is not None and run.add(batch, at, row, topic, message.recv_ns):
                    in_runs += 1
                    continue
            self._take(batch, runs, on_durable)
            self._handle(message, on_durable=on_durable[at])
        self._take(batch, runs, on_durable)
        decoder.compiled += in_runs
        self._counters.messages += in_runs
        self._counters.in_runs += in_runs

    def _begin(self, symbol: str, runs: dict[str, LaneRun]) -> LaneRun | None:
        """The run of a symbol, None where its lane is not there yet, or has no scale or no message yet."""
        lane = self._lanes.by_symbol.get(symbol)
        if lane is None or symbol in self._lanes.unscaled or lane.engine.closed_ns is None:
            return None
        run = runs[symbol] = LaneRun(lane)
        return run

    def _take(self, batch: Batch, runs: dict[str, LaneRun], on_durable: Sequence[OnDurable | None]) -> None:
        """Take the runs, of which there are none then."""
        taken = [run for run in runs.values() if run.messages]
        runs.clear()
        if not taken:
            return
        places: list[int] = []
        seqs: list[int] = []
        stamps_ns: list[int] = []
        for run in taken:
            places += run.messages
            seqs += range(run.first_seq, run.first_seq + len(run.messages))
            stamps_ns += run.stamps_ns
        chosen = np.array([places, seqs, stamps_ns], np.int64)
        frames, sizes = frame_block(batch.text, batch.ends, chosen)
        words = np.empty((sum(run.records for run in taken), batch.words.shape[1]), np.int64)
        _stamp(batch.words, batch.rows, chosen, words)
        records, all_sizes = words.reshape(-1).view(EVENT), sizes.tolist()
        first_frame = first_size = first_record = 0
        for run in taken:
            last_size, last_record = first_size + len(run.messages), first_record + run.records
            own_sizes = all_sizes[first_size:last_size]
            last_frame = first_frame + sum(own_sizes)
            run.lane.take_block(
                frames[first_frame:last_frame],
                own_sizes,
                run.stamps_ns,
                records[first_record:last_record],
            )
            told = [
                (seq, callback)
                for seq, message in enumerate(run.messages, start=run.first_seq)
                if (callback := on_durable[message]) is not None
            ]
            if told:
                run.lane.tape.when_each_durable(told)
            first_frame, first_size, first_record = last_frame, last_size, last_record


def load_batches(decoders: Decoders) -> None:
    """Compile what takes batches, or load what was compiled, before the first of them; of one thread."""
    for decoder in decoders.each():
        if (batch := decoder.read_batch([b"{}"])) is None:
            continue
        batch.rows[:] = 0  # it has no records
        chosen = np.zeros((3, 1), np.int64)
        frame_block(batch.text, batch.ends, chosen)
        _stamp(batch.words, batch.rows, chosen, batch.words[:0])


@jit_alone
def _stamp(words: Any, rows: Any, chosen: Any, stamped: Any) -> None:
    """Copy the records of the messages chosen, in that order, with their seqs and receive times."""
    to = 0
    for at in range(chosen.shape[1]):
        message, seq, recv_ns = chosen[0, at], chosen[1, at], chosen[2, at]
        first = rows[message, FIRST]
        for record in range(first, first + rows[message, COUNT]):
            for word in range(words.shape[1]):
                stamped[to, word] = words[record, word]
            stamped[to, 0] = recv_ns
            stamped[to, 2] = seq
            to += 1
