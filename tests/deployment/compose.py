"""docker-compose.yml and the Dockerfile as data, read as Docker reads them, as far as these two files go."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.docs.pages import read

Service = dict[str, Any]

# What the reader has to give, and nothing else.
LEAST = {"POSTGRES_PASSWORD": "secret", "SECRET_KEY": "the same everywhere"}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENV = re.compile(r"^ENV (\w+)=(.*)$", re.MULTILINE)


class Missing(Exception):
    """A variable that must be set is not; the message is the one that Compose shows."""


def interpolated(text: str, given: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?message}`, one in another as well."""
    result, at = "", 0
    while (start := text.find("${", at)) >= 0:
        end = _closing(text, start + 2)
        result += text[at:start] + _value(text[start + 2 : end], given)
        at = end + 1
    return result + text[at:]


def _closing(text: str, at: int) -> int:
    depth = 1
    while depth:
        if text.startswith("${", at):
            depth += 1
        elif text[at] == "}":
            depth -= 1
        at += 1
    return at - 1


def _value(expression: str, given: Mapping[str, str]) -> str:
    found = _NAME.match(expression)
    assert found, expression
    name, how, rest = found[0], expression[found.end() : found.end() + 2], expression[found.end() + 2 :]
    assert how in {"", ":-", ":?"}, expression
    if given.get(name):
        return given[name]
    if how == ":?":
        raise Missing(rest)
    return interpolated(rest, given)


def variables() -> set[str]:
    """All that docker-compose.yml asks its surroundings for."""
    return set(re.findall(r"\$\{([A-Za-z_]\w*)", read("docker-compose.yml")))


def compose(given: Mapping[str, str] = LEAST) -> dict[str, Any]:
    """With anchors and variables resolved. As Compose does, after the YAML is parsed: a value cannot break it."""
    resolved: dict[str, Any] = _resolved(yaml.safe_load(read("docker-compose.yml")), given)
    return resolved


def _resolved(value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(inner, given) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, given) for inner in value]
    return interpolated(value, given) if isinstance(value, str) else value


def services(given: Mapping[str, str] = LEAST) -> dict[str, Service]:
    found: dict[str, Service] = compose(given)["services"]
    return found


def image_environment() -> dict[str, str]:
    """What the Dockerfile sets; PATH is the container's own."""
    return {name: value for name, value in _ENV.findall(read("Dockerfile")) if name != "PATH"}


def environment(service: Service, dotenv: Mapping[str, str]) -> dict[str, str]:
    """What a process of ours is given: the image's, then .env, then the compose file's."""
    assert service["env_file"] == [{"path": ".env", "required": False}]
    return {**image_environment(), **dotenv, **service["environment"]}


def seconds(duration: str) -> int:
    found = re.fullmatch(r"(\d+)s", duration)
    assert found, duration
    return int(found[1])
