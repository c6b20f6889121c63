"""The Helm chart: its values fill its templates, and what comes out is valid and names settings and ports that exist.

The few expressions that the templates use are filled in here, because few machines have Helm; where it is installed, it
must render the same objects.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from runtime.role import STOP_DEADLINE_S
from runtime.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
EXPRESSION = re.compile(r"\{\{ (?:(div) )?\.(Values|Release)\.([\w.]+)(?: (\d+))?( \| quote)? \}\}")


def filled(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        divided, root, path, divisor, quoted = found.groups()
        if root == "Release":
            assert path == "Name"
            return "mine"
        given: Any = VALUES
        for name in path.split("."):
            given = given[name]
        if divided:
            given //= int(divisor)
        said = str(given).lower() if isinstance(given, bool) else str(given)
        return json.dumps(said) if quoted else said

    whole = EXPRESSION.sub(value, text)
    assert ".Values" not in whole, whole
    assert ".Release" not in whole, whole
    return whole


def objects() -> Iterator[dict[str, Any]]:
    for path in sorted((CHART / "templates").glob("*.yaml")):
        yield from yaml.safe_load_all(filled(path.read_text()))


def test_every_value_is_used_and_every_setting_is_known() -> None:
    texts = "".join(path.read_text() for path in (CHART / "templates").glob("*.yaml"))
    used = set(re.findall(r"\.Values\.([\w.]+)", texts))
    given = {
        name if not isinstance(value, dict) else f"{name}.{inner}"
        for name, value in VALUES.items()
        for inner in (value if isinstance(value, dict) else (None,))
    }
    assert used == given
    [settings] = [each for each in objects() if each["kind"] == "ConfigMap"]
    assert set(settings["data"]) <= {field.upper() for field in Settings.model_fields}
    assert all(isinstance(value, str) for value in settings["data"].values())


def test_each_role_is_probed_and_given_time_to_stop_and_ingest_keeps_its_name() -> None:
    found = list(objects())
    pods = {each["metadata"]["name"]: each for each in found if each["kind"] in {"StatefulSet", "Deployment"}}
    kinds = {name: each["kind"] for name, each in pods.items()}
    assert kinds == {"mine-ingest": "StatefulSet", "mine-api": "Deployment", "mine-jobs": "Deployment"}
    for name, each in pods.items():
        pod = each["spec"]["template"]["spec"]
        [container] = pod["containers"]
        role = name.removeprefix("mine-")
        assert container["args"][:3] == ["run", "--roles", role]
        assert pod["terminationGracePeriodSeconds"] > STOP_DEADLINE_S
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["enableServiceLinks"] is False  # they set names of settings to addresses of Services
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
        assert each["spec"]["selector"]["matchLabels"] == each["spec"]["template"]["metadata"]["labels"]
    budgets = {each["metadata"]["name"] for each in found if each["kind"] == "PodDisruptionBudget"}
    assert budgets == {"mine-ingest", "mine-api"}
    assert pods["mine-ingest"]["spec"]["serviceName"] in {
        each["metadata"]["name"] for each in found if each["kind"] == "Service"
    }


@pytest.mark.parametrize("kubernetes", ["1.28", "1.37"])
def test_the_objects_fit_kubernetes_own_schemas(kubernetes: str) -> None:
    found = list(objects())
    assert found
    for each in found:
        kubernetes_validate.validate(each, kubernetes, strict=True)


def test_helm_itself_renders_the_same_objects() -> None:
    """Skipped without Helm even where every server must be there: it is no part of the service."""
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not there")
    subprocess.run([helm, "lint", "--strict", str(CHART)], check=True, timeout=60)
    rendered = subprocess.run(
        [helm, "template", "mine", str(CHART)], capture_output=True, text=True, check=True, timeout=60
    )

    def by_name(of: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
        return {(each["kind"], each["metadata"]["name"]): each for each in of}

    assert by_name(yaml.safe_load_all(rendered.stdout)) == by_name(objects())


def test_the_chart_is_of_the_version_that_the_package_has() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    [version] = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert (chart["apiVersion"], chart["appVersion"], VALUES["image"]["tag"]) == ("v2", version, version)
