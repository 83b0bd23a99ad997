from pathlib import Path

from tests.servers import ServerProcess


class WorkerProcess(ServerProcess):
    """`manage.py chatworker`, a real process; it is up when it says so."""

    command: tuple[str, ...] = ("manage.py", "chatworker")

    def __init__(self, folder: Path, upstream: str, **env: str) -> None:
        super().__init__("uvicorn", folder, upstream, **env)
        self._starts = 0

    def start(self) -> None:
        self._starts += 1
        super().start()

    def is_up(self) -> bool:
        return self.log_text().count("executes up to") >= self._starts
