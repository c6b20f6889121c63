"""The feature log of a folder of this machine against a plain list of what was written, for every reader."""

from __future__ import annotations

from storage.features.merging import KEPT_NS
from tests.log_machine import LogMachine
from tests.machines import machine_settings


def test_a_part_never_takes_the_name_of_one_with_other_rows() -> None:
    machine = LogMachine()
    machine.begin()
    try:
        machine.serve([0, 1, 2], 1000)
        machine.serve([0, 2], 1000)
        machine.what_is_read_is_what_was_written_last()
        machine.merge(1)
        machine.serve([0, 2], 1000)
        machine.merge(KEPT_NS)
        machine.what_is_read_is_what_was_written_last()
    finally:
        machine.teardown()


TestLog = LogMachine.TestCase
TestLog.settings = machine_settings(runs=8, steps=8)
