"""docker-compose.yml is well formed, names what exists, and gives every process what it needs and no more."""

import json
import re
from typing import Any

import jsonschema
import pytest

from chat.eventlog.redis_bus import CLOSE_SECONDS
from chat.management.serving import GRACE_SECONDS, PING_SECONDS
from chat.runs.engine import CARRY_SECONDS
from tests.deployment import compose as c
from tests.docs.pages import ROOT, read
from tests.docs.test_settings import example, in_code

SERVICES = {"postgres", "redis", "migrate", "web1", "web2", "worker1", "worker2", "nginx"}
OURS = {"migrate", "web1", "web2", "worker1", "worker2"}

every_service = pytest.mark.parametrize("name", sorted(SERVICES))
every_own = pytest.mark.parametrize("name", sorted(OURS))


@pytest.fixture(scope="module")
def services() -> dict[str, c.Service]:
    return c.services()


def schema() -> Any:
    return json.loads((ROOT / "tests" / "deployment" / "compose-spec.json").read_text(encoding="utf-8"))


def test_it_follows_the_specification() -> None:
    jsonschema.Draft7Validator(schema()).validate(c.compose())


def test_the_schema_would_tell() -> None:
    broken = c.compose()
    broken["services"]["web1"]["stop_grace"] = "25s"
    with pytest.raises(jsonschema.ValidationError, match="stop_grace"):
        jsonschema.Draft7Validator(schema()).validate(broken)


def test_it_has_these_services(services: dict[str, c.Service]) -> None:
    assert set(services) == SERVICES
    assert services["web1"] == services["web2"]
    assert services["worker1"] == services["worker2"]


@pytest.mark.parametrize("name", sorted(c.LEAST))
def test_what_must_be_given_is_asked_for_with_what_to_do(name: str) -> None:
    given = {key: value for key, value in c.LEAST.items() if key != name}
    for unset in (given, {**given, name: ""}):
        with pytest.raises(c.Missing, match=rf"Set {name} in \.env, for example to the output of openssl rand"):
            c.compose(unset)


def test_no_secret_stands_in_the_file(services: dict[str, c.Service]) -> None:
    marked = c.services({"POSTGRES_PASSWORD": "MARK1", "SECRET_KEY": "MARK2", "OPENAI_API_KEY": "MARK3"})
    for service in marked.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "KEY" in name or "@" in value:
                assert "MARK" in value, name


@every_own
def test_every_variable_is_a_setting_that_exists(services: dict[str, c.Service], name: str) -> None:
    assert set(services[name]["environment"]) <= in_code()
    assert set(c.image_environment()) - {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} <= in_code()


def test_every_variable_that_it_asks_for_is_explained() -> None:
    assert c.variables() <= set(example())


@every_service
def test_images_have_an_exact_version(services: dict[str, c.Service], name: str) -> None:
    image = services[name]["image"]
    expected = "tokenwire:local" if name in OURS else rf"{name}:\d+\.\d+(\.\d+)?-[a-z-]+"
    assert re.fullmatch(expected, image)


@every_service
def test_every_service_is_watched_and_comes_back(services: dict[str, c.Service], name: str) -> None:
    if name == "migrate":
        assert services[name]["restart"] == "no"
        assert services[name]["healthcheck"] == {"disable": True}
        return
    assert services[name]["restart"] == "unless-stopped"
    check = services[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert c.seconds(check["timeout"]) < c.seconds(check["interval"]) <= 10
    assert c.seconds(check["start_period"]) >= 10


@every_own
def test_the_checks_of_our_own_processes_exist(services: dict[str, c.Service], name: str) -> None:
    test = services[name]["healthcheck"].get("test", [])
    assert all((ROOT / word).exists() for word in test if word.endswith(".py"))
    if name.startswith("worker"):
        command = services[name]["command"]
        assert command[command.index("--beat") + 1] == test[-1]


@every_service
def test_nobody_is_root_or_may_become_so(services: dict[str, c.Service], name: str) -> None:
    service = services[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "privileged" not in service
    # Ours by the image, see test_image.py; the others are root until told otherwise.
    assert service.get("user") == (None if name in OURS else name)


@every_own
def test_what_our_processes_write_is_in_memory(services: dict[str, c.Service], name: str) -> None:
    assert services[name]["tmpfs"] == [services[name]["environment"]["CHAT_DATA_DIR"]]


def test_only_nginx_is_reached_from_outside(services: dict[str, c.Service]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    assert services["nginx"]["ports"] == ["127.0.0.1:8000:8080"]
    assert c.compose()["networks"]["data"] == {"internal": True}
    assert services["postgres"]["networks"] == services["redis"]["networks"] == ["data"]
    assert services["nginx"]["networks"] == ["front"]


def test_the_published_address_is_an_allowed_origin() -> None:
    found = c.services({**c.LEAST, "HOST": "0.0.0.0", "PORT": "80"})
    assert found["nginx"]["ports"] == ["0.0.0.0:80:8080"]
    assert found["web1"]["environment"]["ALLOWED_ORIGINS"] == "http://localhost:80,http://127.0.0.1:80"
    assert found["web1"]["environment"]["PORT"] == "8000"
    named = c.services({**c.LEAST, "ALLOWED_ORIGINS": "https://chat.example.org"})
    assert named["web1"]["environment"]["ALLOWED_ORIGINS"] == "https://chat.example.org"


@every_own
def test_the_tables_are_there_before_anybody_starts(services: dict[str, c.Service], name: str) -> None:
    needs = services[name]["depends_on"]
    if name == "migrate":
        assert needs == {"postgres": {"condition": "service_healthy"}}
    else:
        assert needs["migrate"] == {"condition": "service_completed_successfully"}


def test_who_is_told_to_end_has_the_time_that_it_takes(services: dict[str, c.Service]) -> None:
    last_writes = CARRY_SECONDS + CLOSE_SECONDS + 5
    assert c.seconds(services["web1"]["stop_grace_period"]) >= GRACE_SECONDS + last_writes
    drain = float(services["worker1"]["environment"]["CHAT_DRAIN_SECONDS"])
    assert c.seconds(services["worker1"]["stop_grace_period"]) >= drain + last_writes


def test_redis_keeps_what_it_has(services: dict[str, c.Service]) -> None:
    assert "--appendonly yes" in " ".join(services["redis"]["command"])
    assert services["redis"]["volumes"] == ["redis:/data"]


def test_nginx_gets_the_file_that_is_tested(services: dict[str, c.Service]) -> None:
    (mount,) = services["nginx"]["volumes"]
    source, target, mode = mount.split(":")
    assert (ROOT / source).is_file()
    assert (target, mode) == ("/etc/nginx/nginx.conf", "ro")
    conf = read("deploy/nginx.conf")
    assert "listen 8080 " in conf
    connections = re.search(r"worker_connections (\d+);", conf)
    assert connections
    assert services["nginx"]["ulimits"]["nofile"] > int(connections[1])
    ends = re.search(r"worker_shutdown_timeout (\d+s);", conf)
    assert ends
    assert c.seconds(services["nginx"]["stop_grace_period"]) > c.seconds(ends[1])


def test_streams_are_given_more_time_than_their_pings_take() -> None:
    conf = read("deploy/nginx.conf")
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        (value,) = re.findall(rf"^ +{name} (\d+s);", conf, re.MULTILINE)
        assert c.seconds(value) > 2 * PING_SECONDS
    for line in ("proxy_buffering off;", "proxy_http_version 1.1;", 'proxy_set_header Daphne-Root-Path "";'):
        assert f" {line}\n" in conf
