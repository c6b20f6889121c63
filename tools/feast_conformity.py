"""Feast's own universal suites on our offline and online store, from a checkout of Feast that is no part of this tree.

    git clone --depth 1 --branch v0.66.0 https://github.com/feast-dev/feast /tmp/feast
    python tools/feast_conformity.py /tmp/feast [--suite offline|online] [--pytest='-k ttl']

What Feast's tests import in addition to Feast is installed into ``build/feast-conformity`` and found after everything
else. The suites write to a Redis; its database may hold nothing else. Exits 0 if every test passes except those of
``EXCEPTIONS``, each of which must fail.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = ROOT / "build" / "feast-conformity"
SUITES: Final[Mapping[str, Sequence[str]]] = {
    "offline": ("tests/integration/offline_store", "-m", "universal_offline_stores"),
    "online": (
        "tests/integration/online_store/test_push_features_to_online_store.py",
        "tests/integration/online_store/test_universal_e2e.py",
        "tests/integration/online_store/test_universal_online.py",
        "tests/integration/online_store/test_universal_online_types.py",
        "-m",
        "universal_online_stores",
    ),
}
NEEDED: Final = (
    "assertpy",
    "botocore",
    "cryptography",
    "google-cloud-bigquery",
    "grpcio<=1.62.3",
    "grpcio-health-checking<=1.62.3",
    "grpcio-reflection<=1.62.3",
    "minio",
    "pytest-asyncio",
    "pytest-env",
    "pytest-lazy-fixtures",
    "pytest-order",
    "pytest-timeout",
    "python-keycloak",
    "testcontainers>=4.9",
)

# A plugin that pytest imports before it looks for others: what is installed is found last. "Local" makes Feast's suites
# leave out the clouds when they are collected, and some tests of Redis return at once when they run.
_WHOLE: Final = """

def pytest_collection_finish(session):
    os.environ["FEAST_IS_LOCAL_TEST"] = "False"
"""

EXCEPTIONS: Final[Mapping[str, str]] = {
    "test_non_entity_mode_preserves_multiple_timestamps": (
        "compares a Float32 for equality with 0.1; fails on Feast's dask store too"
    ),
    "test_push_features_and_read_async_dynamodb": "tests Amazon's DynamoDB, whichever store is under test",
    "test_async_online_retrieval_with_event_timestamps_dynamo": (
        "tests Amazon's DynamoDB, whichever store is under test"
    ),
    "test_write_to_online_store_event_check": (
        "expects an hour-old row from a view whose time to live is five minutes, which this store hides"
    ),
    "test_dqm_validation": "needs Great Expectations before 1.0; Feast's profiler cannot import 1.x",
}
"""By test, or by file where a file cannot be imported: why it cannot pass. `docs/feast.md` names each."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a suite: how many tests passed and were skipped, which failed, and which exceptions did not fail."""

    passed: int
    skipped: int
    failed: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return self.passed > 0 and not self.failed and not self.stale


def judge(report: ET.Element, exceptions: Mapping[str, str]) -> Verdict:
    """What a JUnit report says, with exceptions that it has a test of taken out."""
    passed = skipped = 0
    failed, met, present = [], set(), set()
    for case in report.iter("testcase"):
        name = case.get("name", "").partition("[")[0] or case.get("classname", "")
        # Of a file that cannot be imported the file's name alone is given.
        known = next((key for key in exceptions if name == key or name.rpartition(".")[2] == key), None)
        if known is not None:
            present.add(known)
        if case.find("failure") is not None or case.find("error") is not None:
            if known is None:
                failed.append(f"{case.get('classname')}::{case.get('name')}")
            else:
                met.add(known)
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Verdict(passed, skipped, tuple(failed), tuple(sorted(present - met)))


def main() -> int:
    """Run the suites and say what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="folder of a checkout of Feast")
    parser.add_argument("--suite", choices=sorted(SUITES), action="append", help="both where none is named")
    parser.add_argument("--redis", default="localhost:6379,db=15", help="as Feast's connection_string (%(default)s)")
    parser.add_argument("--pytest", default="", help="more arguments of pytest, as one text")
    asked = parser.parse_args()
    folder = asked.checkout.resolve() / "sdk" / "python"
    if not (folder / "tests" / "universal").is_dir():
        parser.error(f"checkout: must hold sdk/python/tests/universal, was {asked.checkout}")
    _install()
    arguments, alone = shlex.split(asked.pytest), without_feast(folder, PLACE / "tests-alone")
    verdicts = {name: _run(alone, name, asked.redis, arguments) for name in asked.suite or sorted(SUITES)}
    for name, verdict in verdicts.items():
        excepted = "" if not verdict.stale else f"; exceptions that passed: {', '.join(verdict.stale)}"
        print(f"{name}: Feast {version('feast')}: {verdict.passed} passed, {verdict.skipped} skipped{excepted}")
        for failed in verdict.failed:
            print(f"  failed: {failed}")
    return 0 if all(verdict.is_good for verdict in verdicts.values()) else 1


def without_feast(folder: Path, place: Path) -> Path:
    """A folder with only the tests of a checkout and their settings: next to its Feast they would use that one."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("tests", "pytest.ini"):
        (place / name).symlink_to(folder / name)
    return place


def _install() -> None:
    """What Feast's tests import and the service does not, in a separate folder: the environment is not changed."""
    listed = PLACE / "installed.txt"
    wanted = "\n".join((*NEEDED, _WHOLE))
    if listed.is_file() and listed.read_text() == wanted:
        return
    PLACE.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    subprocess.run([*pip, "--target", str(PLACE / "site"), *NEEDED], check=True)
    (PLACE / "found_last.py").write_text(f"import os\nimport sys\n\nsys.path.append({str(PLACE / 'site')!r})\n{_WHOLE}")
    listed.write_text(wanted)


def _run(folder: Path, suite: str, redis: str, arguments: Sequence[str]) -> Verdict:
    report = PLACE / f"{suite}.xml"
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tools", folder, PLACE))),
        "FULL_REPO_CONFIGS_MODULE": "feast_stores",
        "FEAST_IS_LOCAL_TEST": "True",
        "FEAST_CONFORMITY_REDIS": redis,
    }
    pytest = [sys.executable, "-m", "pytest", "-p", "found_last", "--integration", "--continue-on-collection-errors"]
    subprocess.run(
        [*pytest, *SUITES[suite], f"--junitxml={report}", *arguments], cwd=folder, env=environment, check=False
    )
    return judge(ET.parse(report).getroot(), EXCEPTIONS)  # noqa: S314  # pytest's own


if __name__ == "__main__":
    sys.exit(main())
