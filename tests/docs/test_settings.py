"""Every setting is in .env.example and in the README, with the default that it has; and nothing else is there."""

import ast
import re
from typing import Any

from django.conf import settings

from tests.docs.pages import read, rows, section

PAGE = read("README.md")
# Not to be set in the file that it names.
ONLY_IN_THE_ENVIRONMENT = {"CHAT_ENV_FILE"}
# Read by Compose from the same file.
ONLY_FOR_COMPOSE = {"POSTGRES_PASSWORD", "TOKENWIRE_VERSION"}
READERS = {
    "text",
    "switch",
    "whole",
    "seconds",
    "names",
    "one_of",
    "url",
    "log_level",
    "time_zone",
    "origins",
    "database",
    "data_folder",
    "secret_key",
    "str",
}


def in_code() -> set[str]:
    """Names that the settings or the server's command read from the environment."""
    found = {"SERVER"} if 'os.environ.get("SERVER")' in read("chat/management/commands/serve.py") else set()
    for file in ("config/settings.py", "config/environment.py"):
        for node in ast.walk(ast.parse(read(file))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in READERS and re.fullmatch(r"[A-Z_]+", str(node.args[0].value)):
                    found.add(str(node.args[0].value))
    return found


def example() -> dict[str, str]:
    return dict(re.findall(r"^# ([A-Z_]+)=(.*)$", read(".env.example"), re.MULTILINE))


def told() -> dict[str, str]:
    return {cells[0].strip("`"): cells[1] for cells in rows(section(PAGE, "Settings"))}


def test_the_example_file_has_every_setting_and_no_other() -> None:
    assert {"CHAT_MODELS", "SERVER", "SECRET_KEY", "TRUST_PROXY", "DATABASE_URL"} <= in_code()
    assert set(example()) == (in_code() - ONLY_IN_THE_ENVIRONMENT) | ONLY_FOR_COMPOSE
    assert set(re.findall(r"\$\{(\w+)", read("docker-compose.yml"))) - in_code() == ONLY_FOR_COMPOSE


def test_the_readme_has_every_setting_of_the_example_file_with_its_default() -> None:
    assert told() == example()
    assert all(f"`{name}`" in PAGE for name in ONLY_IN_THE_ENVIRONMENT)


def test_the_defaults_are_those_of_the_code() -> None:
    compared = 0
    for name, value in example().items():
        if value and name.startswith("CHAT_"):
            assert spelled(getattr(settings, name)) == value, name
            compared += 1
    assert compared > 15
    for name in ("HOST", "PORT", "TIME_ZONE", "DEBUG"):
        assert spelled(getattr(settings, name)) == example()[name]
    assert set(example()["ALLOWED_HOSTS"].split(",")) <= set(settings.ALLOWED_HOSTS)
    assert example()["ALLOWED_ORIGINS"].split(",") == settings.ALLOWED_ORIGINS


def spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
