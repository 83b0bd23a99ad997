"""docs/deploy.md speaks of settings, services and times that exist."""

import re

import yaml

from tests.deployment import compose
from tests.docs.pages import blocks, mentions, read, rows, section
from tests.docs.test_settings import example

PAGE = read("docs/deploy.md")
OURS = ("CHAT_", "ALLOWED_", "OPENAI_", "DATABASE_", "REDIS_", "SECRET_", "POSTGRES_", "TOKENWIRE_", "TRUST_")


def test_every_setting_that_is_named_exists() -> None:
    told = [*mentions(PAGE), *" ".join(block for language in ("sh", "ini") for block in blocks(PAGE, language)).split()]
    names = {found[0] for text in told if (found := re.match(r'"?([A-Z]+(?:_[A-Z]+)+)', text))}
    names = {name.strip('"') for name in names}
    assert len(names) > 8
    assert {name for name in names if name.startswith(OURS)} - set(example()) == set()


def test_the_services_are_those_of_the_compose_file() -> None:
    told = {name for cells in rows(section(PAGE, "Docker Compose")) for name in re.findall(r"`(\w+)`", cells[0])}
    assert told == set(compose.services())


def test_an_upgrade_replaces_every_process_of_ours_workers_first() -> None:
    loop = re.search(r"for each in ([\w ]+); do", section(PAGE, "Upgrades without downtime"))
    assert loop
    built = [name for name, service in compose.services().items() if "build" in service and name != "migrate"]
    assert sorted(loop[1].split()) == sorted(built)
    assert loop[1].startswith("worker")


def test_the_times_to_end_are_those_of_the_compose_file() -> None:
    services = compose.services()
    web, worker = (compose.seconds(services[name]["stop_grace_period"]) for name in ("web1", "worker1"))
    assert f"TimeoutStopSec={web}\n" in PAGE
    assert f"`TimeoutStopSec={worker}`" in PAGE
    told = [yaml.safe_load(block) for block in blocks(PAGE, "yaml")]
    assert all(pod["terminationGracePeriodSeconds"] >= time for pod, time in zip(told, (web, worker), strict=True))
    assert [pod["containers"][0]["command"] for pod in told] == [services[n]["command"] for n in ("web1", "worker1")]
    probe = told[1]["containers"][0]["livenessProbe"]["exec"]["command"]
    assert probe == services["worker1"]["healthcheck"]["test"][1:]
