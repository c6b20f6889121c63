"""Every route, command, setting and metric is documented, and every setting is read."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from typer.main import get_command

import api
from ingestion.worker.metrics import StatusCollector
from runtime import cli
from runtime.settings import Settings

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
)
COLLECTORS: Final = re.compile(r"(Counter|Gauge|Histogram|Summary|CounterMetricFamily|GaugeMetricFamily)")


def trees(*folders: str) -> Iterator[ast.Module]:
    """The source of folders, but for the settings' own."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path == ROOT / "runtime" / "settings.py":
                continue
            yield ast.parse(path.read_text(encoding="utf-8"))


def routes() -> list[str]:
    modules = [importlib.import_module(f"api.{found.name}") for found in pkgutil.iter_modules(api.__path__)]
    routers = [found for module in modules for found in vars(module).values() if isinstance(found, APIRouter)]
    return sorted({route.path for router in routers for route in router.routes if isinstance(route, APIRoute)})


def commands(command: object, names: tuple[str, ...] = ()) -> Iterator[str]:
    inner: dict[str, object] | None = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(names)
    else:
        for name, command_or_group in inner.items():
            yield from commands(command_or_group, (*names, name))


def figures(tree: ast.AST) -> Iterator[str]:
    """What a worker says of itself: keys of the document's part ``worker`` and of what functions ``figures`` return."""
    for node in ast.walk(tree):
        found: list[ast.AST] = []
        if isinstance(node, ast.Dict):
            found = [
                value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value == "worker"
            ]
        elif isinstance(node, ast.FunctionDef) and node.name == "figures":
            found = [node]
        for inner in (each for part in found for each in ast.walk(part) if isinstance(each, ast.Dict)):
            yield from (key.value for key in inner.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def metric_names() -> set[str]:
    names = {f"feature_service_{name}_total" for name in StatusCollector._COUNTERS}
    for tree in trees("api", "ingestion", "runtime", "storage", "training_sets"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and COLLECTORS.fullmatch(getattr(node.func, "id", "")) and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    names.add(name.value)
        names |= {f"feature_service_worker_{name}" for name in figures(tree)}
    return names


def undocumented(names: Iterator[str] | list[str] | set[str], template: str) -> list[str]:
    return [name for name in names if template.format(name) not in PAGES]


def test_every_route_is_documented() -> None:
    assert len(routes()) > 15
    missing = [path for path in routes() if not re.search(rf"{re.escape(path)}(?![/\w])", PAGES.replace("`", " "))]
    assert missing == [], "README.md or docs/*.md must say what they are for"


def test_every_command_is_documented() -> None:
    found = list(commands(get_command(cli.app)))
    assert len(found) > 20
    assert undocumented(found, "{}") == [], "README.md or docs/*.md must say what they are for"


def test_every_metric_is_documented() -> None:
    names = metric_names()
    assert {"feature_service_store_up", "feature_service_gaps_total", "feature_service_worker_lag_ms"} <= names
    assert undocumented(sorted(names), "`{}`") == [], "docs/operations.md must say what they count"


def test_every_setting_is_read() -> None:
    """By its field, or by the name of its variable. That env.example documents each is a test of the settings."""
    read = set()
    for tree in trees("api", "ingestion", "quality", "runtime", "storage", "training_sets", "feature_repo"):
        read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        read |= {
            argument.value.lower()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for argument in node.args
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        }
    # A property of the settings that is read reads fields for its reader.
    for node in ast.walk(ast.parse((ROOT / "runtime" / "settings.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name in read:
            read |= {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
    assert sorted(Settings.model_fields.keys() - read) == [], "nothing reads them: build them or take them away"


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    ]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
