"""What operators deploy with says what the code does. It is read here, not run: that wants docker and systemd."""

import configparser
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from server.observability.metrics import Metrics
from server.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "telos.json").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
NOT_RUN = {".md", ".proto", ".pyi", ".typed"}
SETTINGS = {f"TELOS_{name.upper()}" for name in Settings.__dataclass_fields__}


def expressions() -> Iterator[str]:
    for group in ALERTS["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def known_series() -> dict[str, set[str]]:
    """Every series that a server can have, and its labels."""
    known: dict[str, set[str]] = {"up": {"job", "instance"}}
    for family in Metrics().registry.collect():
        labels: set[str] = set()
        for sample in family.samples:
            labels |= set(sample.labels)
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
        known |= {family.name + end: labels for end in ends}
    return known


def selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        if (inner := getattr(node, name, None)) is not None and not isinstance(inner, str | float):
            yield from selectors(inner)
    for inner in getattr(node, "args", None) or ():
        yield from selectors(inner)


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_series_that_is_asked_for_exists(expression: str) -> None:
    found = [selector.name for selector in selectors(promql_parser.parse(expression))]
    assert found and set(found) <= set(known_series()), found
    assert set(re.findall(r"\btelos_\w+", expression)) <= set(found)


def test_the_test_above_has_eyes() -> None:
    series = [s.name for s in selectors(promql_parser.parse("rate(telos_no_such_thing[5m]) / on() sum(up) > 2"))]
    assert series == ["telos_no_such_thing", "up"]


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning") and rule["annotations"]["summary"]


def test_prometheus_and_grafana_find_each_other() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host in COMPOSE["services"] and int(port) == Settings().http_port
    assert Path(prometheus["rule_files"][0]).name == "alerts.yml"
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert all(panel["datasource"]["uid"] == source["uid"] for panel in DASHBOARD["panels"])
    name, port = source["url"].removeprefix("http://").split(":")
    assert name in COMPOSE["services"] and COMPOSE["services"][name]["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_may_do_little(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith(("0", "root"))
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert set(service.get("environment", {})) - SETTINGS <= {
        "GF_SECURITY_ADMIN_PASSWORD",
        "GF_ANALYTICS_REPORTING_ENABLED",
    }


def test_the_images_settings_are_settings_and_it_copies_what_there_is() -> None:
    assert set(re.findall(r"\bTELOS_[A-Z_]+", DOCKERFILE)) <= SETTINGS
    root = DEPLOY.parent
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        assert all((root / source).exists() for source in line.split()[:-1]), line
    packages = {path.name for path in root.iterdir() if (path / "__init__.py").exists()} - {"tests"}
    assert packages <= set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.MULTILINE))
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "/readyz" in DOCKERFILE or ".ready()" in DOCKERFILE


def test_what_is_installed_is_whole() -> None:
    """In a checkout nothing is missing. An image once had no `server.schemas`: packages were listed by hand."""
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["tool"]
    installed, data = project["setuptools"]["packages"]["find"], project["setuptools"]["package-data"]
    roots = project["importlinter"]["root_packages"]
    assert installed == {"include": [f"{root}*" for root in roots], "namespaces": False}
    files = (path for root in roots for path in (DEPLOY.parent / root).rglob("*.*"))
    for path in (path for path in files if path.parent.name != "__pycache__"):
        if path.suffix == ".py":
            assert (path.parent / "__init__.py").exists(), f"{path} is in a folder that is no package"
        elif path.suffix not in NOT_RUN:
            package = ".".join(path.relative_to(DEPLOY.parent).parts[:-2])
            inside = f"{path.parent.name}/{path.name}"
            assert any(fnmatch(inside, pattern) for pattern in data.get(package, ())), f"{path} is no package data"


def test_the_image_refuses_to_start_without_a_token() -> None:
    environment = dict(re.findall(r"(TELOS_\w+)=(\S+)", DOCKERFILE))
    with pytest.raises(ValueError, match="token"):
        Settings.from_environment(environment)
    Settings.from_environment(environment | {"TELOS_TOKEN": "secret"})


def test_its_health_check_can_be_run() -> None:
    """As written, with nobody there: not ready."""
    check = re.search(r"HEALTHCHECK.*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert check is not None
    command = json.loads(check[1])
    assert command[0] == "python"
    code = command[2].replace("8600", "1")
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=DEPLOY.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1 and result.stderr == ""


def test_the_unit_is_confined_and_its_settings_are_settings() -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "systemd" / "telos.service")
    service = unit["Service"]
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "DynamicUser", "RestrictNamespaces", "LockPersonality"):
        assert service[key] == "yes", key
    assert service["ProtectSystem"] == "strict" and service["CapabilityBoundingSet"] == ""
    assert set(re.findall(r"\bTELOS_[A-Z_]+", service["Environment"])) <= SETTINGS
    assert float(service["TimeoutStopSec"]) > Settings().shutdown_grace_s + 1
    assert service["ExecStart"].endswith("telos serve")
