"""What Prometheus and Grafana are given: services at the ports they serve, and sources that there are."""

from __future__ import annotations

import json

import yaml

from tests.deployed import ROLES, ROOT, SERVICES, volumes


def test_what_prometheus_reads_are_services_at_the_ports_they_serve() -> None:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    environment = SERVICES["ingest"]["environment"]
    assert set(jobs) == {*ROLES, "rabbitmq"}
    for role in ROLES:
        [found] = jobs[role]["dns_sd_configs"]
        port = environment["FEATURE_SERVICE_PORT" if role == "api" else "FEATURE_SERVICE_METRICS_PORT"]
        assert (found["names"], str(found["port"])) == ([role], port)
    assert document["rule_files"] == ["alerts.yml"]


def test_every_panel_of_every_dashboard_reads_a_provisioned_source() -> None:
    folder = ROOT / "deploy" / "grafana"
    sources = {
        (source["type"], source["uid"]): source
        for path in (folder / "provisioning" / "datasources").glob("*.yml")
        for source in yaml.safe_load(path.read_text())["datasources"]
    }
    assert {source["url"] for source in sources.values()} == {"http://prometheus:9090", "postgres:5432"}
    [provider] = yaml.safe_load((folder / "provisioning" / "dashboards" / "feature-service.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] in {target for _, target in volumes(SERVICES["grafana"])}
    dashboards = [json.loads(path.read_text()) for path in (folder / "dashboards").glob("*.json")]
    assert len({each["uid"] for each in dashboards}) == len(dashboards) == 6
    for dashboard in dashboards:
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
        assert {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in panels} <= set(sources)
        assert all(target.get("expr") or target.get("rawSql") for panel in panels for target in panel["targets"])
