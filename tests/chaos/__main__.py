"""`python -m tests.chaos [job …]`: the long forms of what the suite does in short. Exit 1 if anything was lost."""

import importlib
import os
import pkgutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ["CHAT_ENV_FILE"] = ""
os.environ["CHAT_DATA_DIR"] = tempfile.mkdtemp(prefix="tokenwire-chaos-")

from tests.chaos.table import Row, table

NO_JOBS = {"__main__", "table"}


def jobs() -> list[str]:
    """Every module beside this one with a `run() -> list[Row]`."""
    found = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return [name for name in found if name not in NO_JOBS and not name.startswith("test_")]


def main(wanted: list[str]) -> int:
    if unknown := set(wanted) - set(jobs()):
        print(f"No such job: {', '.join(sorted(unknown))}. There are: {', '.join(jobs())}.", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in wanted or jobs():
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += [Row(*row) for row in importlib.import_module(f"tests.chaos.{name}").run()]
    print(table(rows))
    return 0 if rows and all(row.survived == row.tried for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
