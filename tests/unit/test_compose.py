"""docker-compose.yml says what the documentation promises, and is valid without a Docker engine to try it on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose

from agent.cli_serve import GRACE_S

ROOT = Path(__file__).parents[2]


@pytest.fixture
def services() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    compose = PyCompose.from_yaml(text)
    compose.validate()
    found: dict[str, Any] = compose.to_dict()["services"]
    return found


def test_redis_is_the_documented_one(services: dict[str, Any]) -> None:
    """Image, container name, volume and health check are those that backends expect."""
    redis = services["redis"]
    assert redis["image"] == "redis:7-alpine"
    assert redis["container_name"] == "ai_service_redis"
    assert redis["volumes"]
    assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]


def test_every_port_is_bound_to_loopback(services: dict[str, Any]) -> None:
    """Nothing is reached from another machine unless somebody opens it."""
    ports = [str(port) for service in services.values() for port in service["ports"]]
    assert ports == ["127.0.0.1:6380:6379", "127.0.0.1:6379:6379", "127.0.0.1:8000:8000"]


def test_redis_is_set_up_as_a_cache(services: dict[str, Any]) -> None:
    """It has a bound on memory and gives way when it is reached, where the default would refuse writes."""
    command = services["redis"]["command"]
    assert command[command.index("--maxmemory") + 1] == "512mb"
    assert command[command.index("--maxmemory-policy") + 1] == "allkeys-lru"


def test_the_api_is_given_the_time_that_it_gives_its_requests(services: dict[str, Any]) -> None:
    """The engine waits longer before it kills than the service waits for running requests and then takes to close."""
    period = re.fullmatch(r"(\d+)s", str(services["api"].get("stop_grace_period", "10s")))
    assert period
    assert int(period.group(1)) >= GRACE_S + 10


def test_the_image_runs_as_a_user_without_rights() -> None:
    """The last USER of the Dockerfile is not root."""
    users = [line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("USER ")]
    assert users[-1] not in {"root", "0"}
