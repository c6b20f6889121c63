"""Raw data of a folder of this machine against a plain dict of parts."""

from __future__ import annotations

from tests.machines import machine_settings
from tests.manifest_machine import ManifestMachine

TestManifest = ManifestMachine.TestCase
TestManifest.settings = machine_settings(runs=10, steps=10)
