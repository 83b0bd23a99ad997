"""Is the process in this container well? Exit code 0 or 1, and one line that says why not.

    python -SI scripts/health.py live|ready     asks the web process on PORT
    python -SI scripts/health.py beat FILE      looks at the file that `chatworker --beat FILE` touches

Runs every few seconds beside every process, so it loads neither Django nor much of the standard library.
"""

import os
import socket
import sys
import time

PATHS = {"live": "/healthz", "ready": "/readyz"}
ANSWER_SECONDS = 4
# Touched once a second. A loop that is held up for so long also loses its leases (CHAT_LEASE_SECONDS).
STALE_SECONDS = 15


def asked(path: str, port: int) -> str:
    """What is wrong; "" if nothing is."""
    try:
        with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while received := connection.recv(4096):
                answer += received
    except OSError as error:
        return f"port {port} does not answer: {error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode("latin-1")
    return "" if status.split()[1:2] == ["200"] else f"{status} {body.decode(errors='replace')}".strip()


def beaten(file: str) -> str:
    try:
        age = time.time() - os.stat(file).st_mtime  # noqa: PTH116 - pathlib takes as long to load as all of this
    except OSError as error:
        return f"no beat: {error}"
    return "" if age <= STALE_SECONDS else f"the last beat was {age:.0f} s ago"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["live" | "ready" as what]:
            problem = asked(PATHS[what], int(os.environ.get("PORT") or 8000))
        case ["beat", file]:
            problem = beaten(file)
        case _:
            problem = "use: health.py live | ready | beat FILE"
    print(problem or "well")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
