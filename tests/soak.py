"""``python -m tests.soak``: the tests that run for minutes and those that draw examples, file by file.

1. The files are collected. Those with a test marked ``soak`` run one after the other, because they load the machine;
   then those that only draw examples, one for each core.
2. Each file is a process of its own: one that hangs is ended after LIMIT_S, and the others run whatever one comes to.
3. What each took and came to is printed, and kept in ``build/soak``: ``results.jsonl``, and the output of each file.
4. ``--resume`` goes on with a run that was ended, or takes up one that failed: the files that have not passed in it,
   drawn with its seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
LIMIT_S: Final = 7200.0
"""Of a file."""
END_S: Final = 60.0
"""In which a file that is ended must stop what it started."""
MARKS: Final = "soak or hypothesis"


@dataclass(frozen=True)
class Result:
    """What a file came to. code: of pytest. load: of the machine when it ended."""

    file: str
    code: int
    summary: str
    seconds: float
    load: float


@dataclass(frozen=True)
class Run:
    """Of a checkout's tests, or of some of its paths. output: the folder of the results."""

    root: Path
    output: Path
    seed: int
    paths: Sequence[str] = ()
    limit_s: float = LIMIT_S

    def files(self) -> tuple[list[str], list[str]]:
        """Those with a long test, and the others. Raises SystemExit with what pytest says if it cannot collect them."""
        command = _pytest("-m", MARKS, "--collect-only", "-q", *self.paths)
        told = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        if told.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            raise SystemExit(told.stdout + told.stderr)
        found = dict.fromkeys(line.partition("::")[0] for line in told.stdout.splitlines() if "::" in line)
        is_long = {file: "mark.soak" in (self.root / file).read_text(encoding="utf-8") for file in found}
        return [file for file in found if is_long[file]], [file for file in found if not is_long[file]]

    def result_of(self, file: str) -> Result:
        """Of its tests of both kinds, which it runs."""
        log = self.output / f"{file.removesuffix('.py').replace('/', '.')}.log"
        command = _pytest("-m", MARKS, f"--hypothesis-seed={self.seed}", "--verbose", "--capture=no", "-ra", file)
        environment = {**os.environ, "FEATURE_SERVICE_TEST_EXAMPLES": "drawn"}
        begun_s = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            try:
                process.wait(self.limit_s)
                summary = _summary(log, process.returncode)
            except subprocess.TimeoutExpired:
                summary = f"ended after {self.limit_s:g} s"
            finally:
                _end(process)
        took_s = time.monotonic() - begun_s
        return Result(file, process.returncode, summary, round(took_s, 1), round(os.getloadavg()[0], 1))

    def results(self, files: Sequence[str], *, at_once: int) -> Iterator[Result]:
        """Of each file, in their order. Ended early, it begins no other."""
        pool = ThreadPoolExecutor(at_once)
        try:
            yield from pool.map(self.result_of, files)
        finally:
            pool.shutdown(cancel_futures=True)


def _pytest(*words: str) -> list[str]:
    return [sys.executable, "-u", "-m", "pytest", *words]


def _summary(log: Path, code: int) -> str:
    """What pytest says last."""
    *_, last = log.read_text(errors="replace").splitlines() or [""]
    told = last.strip("= ").rpartition(" in ")[0]
    return told or f"pytest ended with {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would, so that its servers stop, and for good if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def begun(output: Path, seed: int, paths: Sequence[str]) -> Path:
    """The file of the results of a new run."""
    output.mkdir(parents=True, exist_ok=True)
    kept = output / "results.jsonl"
    kept.write_text(json.dumps({"seed": seed, "paths": list(paths)}) + "\n")
    return kept


def run(kept: Path, root: Path) -> list[Result]:
    """Run the files that have not passed in it; the results of those that fail. Prints and keeps each as it comes."""
    first, *others = map(json.loads, kept.read_text().splitlines())
    passed = {each["file"] for each in others if each["code"] == 0}
    of = Run(root, kept.parent, first["seed"], first["paths"])
    long, others = of.files()
    total = len(long) + len(others)
    print(f"{total} files, of which {len(passed)} passed before; examples are drawn with seed {of.seed}", flush=True)
    at, failed = len(passed), []
    for files, at_once in ((long, 1), (others, os.cpu_count() or 1)):
        for result in of.results([each for each in files if each not in passed], at_once=at_once):
            at += 1
            with kept.open("a") as lines:
                lines.write(json.dumps(asdict(result)) + "\n")
            failed += [result] if result.code else []
            print(f"{at}/{total} {_told(result)}", flush=True)
    return failed


def _told(result: Result) -> str:
    return f"{result.file}: {result.summary}, {result.seconds:.0f} s, load {result.load:g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="The long tests, file by file.")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files or folders; without one all")
    parser.add_argument("--seed", type=int, help="of the examples; without it a new one")
    parser.add_argument("--resume", action="store_true", help="the files that have not passed in the last run")
    given = parser.parse_args()
    output = ROOT / "build" / "soak"
    kept = output / "results.jsonl"
    if given.resume and (given.paths or given.seed is not None):
        parser.error("--resume: must be alone, because a run keeps its paths and its seed")
    if given.resume and not kept.is_file():
        parser.error(f"--resume: must follow a run, found none in {output}")
    if not given.resume:
        seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
        kept = begun(output, seed, given.paths)
    begun_s = time.monotonic()
    try:
        failed = run(kept, ROOT)
    except KeyboardInterrupt:
        raise SystemExit("ended early: make soak ARGS=--resume goes on") from None
    print(f"{(time.monotonic() - begun_s) / 3600:.1f} h; the output of each file is in {output}")
    if failed:
        told = "\n".join(map(_told, failed))
        raise SystemExit(f"failed; make soak ARGS=--resume runs them again:\n{told}")


if __name__ == "__main__":
    main()
