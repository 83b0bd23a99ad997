"""Reads settings from the environment or `.env`. A wrong value stops the start and says which."""

import logging
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
# The tests bring their own environment: a developer's key in .env must never be used by a test run.
if env.str("CHAT_ENV_FILE", default=".env"):
    environ.Env.read_env(BASE_DIR / env.str("CHAT_ENV_FILE", default=".env"), parse_comments=True)


def wrong(name: str, expected: str) -> ImproperlyConfigured:
    value = env.str(name, default="")
    return ImproperlyConfigured(f"{name}={value!r} is not valid: expected {expected}. Set it in .env or unset it.")


def text(name: str, default: str = "") -> str:
    return str(env.str(name, default=default)).strip()


def switch(name: str, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise wrong(name, "on or off")


def whole(name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    if not text(name):
        return default
    try:
        number = int(text(name))
    except ValueError:
        raise wrong(name, f"a whole number from {least} to {most}") from None
    if not least <= number <= most:
        raise wrong(name, f"a whole number from {least} to {most}")
    return number


def seconds(name: str, default: float, *, most: float = 86_400) -> float:
    if not text(name):
        return default
    try:
        number = float(text(name))
    except ValueError:
        raise wrong(name, f"seconds, more than 0 and at most {most:g}") from None
    if not 0 < number <= most:
        raise wrong(name, f"seconds, more than 0 and at most {most:g}")
    return number


def one_of(name: str, default: str, *choices: str) -> str:
    value = text(name, default).lower()
    if value not in choices:
        raise wrong(name, f"{', '.join(choices[:-1])} or {choices[-1]}")
    return value


def names(name: str, default: list[str] | None = None) -> list[str]:
    if not text(name):
        return list(default or [])
    return [part.strip() for part in text(name).split(",") if part.strip()]


def url(name: str, schemes: set[str]) -> str:
    """A URL of one of `schemes`, or "" if unset."""
    value = text(name)
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        raise wrong(name, f"a URL like {sorted(schemes)[0]}://…") from None
    if parts.scheme not in schemes or not (parts.netloc or parts.path):
        raise wrong(name, f"a URL that starts with {' or '.join(f'{scheme}://' for scheme in sorted(schemes))}")
    return value


def log_level(name: str, default: str) -> str:
    value = text(name, default).upper()
    if value not in logging.getLevelNamesMapping():
        raise wrong(name, "DEBUG, INFO, WARNING or ERROR")
    return value


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong(name, "a time zone such as Europe/Berlin") from None
    return value


def origins(name: str, default: list[str]) -> list[str]:
    """Exact origins, `scheme://host[:port]`; never a wildcard: a cookie must not be usable from another site."""
    values = names(name, default)
    for value in values:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or "*" in value:
            raise wrong(name, "exact origins such as https://chat.example.org, separated by commas, without a path")
    return [value.lower() for value in values]


def database(name: str, default: Path) -> dict[str, Any]:
    value = text(name) or f"sqlite:///{default}"
    if not value.startswith(("sqlite:///", "postgres://", "postgresql://")):
        raise _wrong_database(name)
    try:
        return dict(env.db_url_config(value))
    except Exception:  # django-environ raises whatever the broken part raised
        raise _wrong_database(name) from None


def _wrong_database(name: str) -> ImproperlyConfigured:
    # Without its value, which may hold a password.
    return ImproperlyConfigured(f"{name} is not valid: expected sqlite:///path or postgres://user:password@host/name.")


def secret_key(folder: Path) -> str:
    """SECRET_KEY, else one made at the first start and kept in `folder` (readable by its owner only)."""
    if value := text("SECRET_KEY"):
        return value
    file = folder / "secret_key"
    if not file.exists():
        fresh = folder / f".secret_key.{secrets.token_hex(4)}"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(50))
        try:
            file.hardlink_to(fresh)  # unlike a rename it cannot replace the key that another process just wrote
        except FileExistsError:
            return file.read_text().strip()
        finally:
            fresh.unlink()
    return file.read_text().strip()


def data_folder(name: str, default: Path) -> Path:
    folder = Path(text(name) or default).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data folder {folder} cannot be written ({error.strerror}). Mend its permissions or set {name}."
        ) from None
    return folder
