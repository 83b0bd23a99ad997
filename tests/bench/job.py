"""What the load client is asked to do and what it answers: one JSON object in, one out."""

import msgspec


class Job(msgspec.Struct, frozen=True):
    ports: list[int]  # of the server's processes, which the sockets take by turns
    path: str
    greets: bool  # the server speaks first (`hello`)
    server_pids: list[int]
    upstream_pid: int
    sockets: int
    prompt: str = ""
    chunks: int = 0
    rounds: int = 1
    spread_s: float = 0.0  # prompts of a round are sent at random moments within it; 0: all at one instant
    timeout_s: float = 60.0
    idle_s: float = 1.0  # how long the idle server is watched for its baseline


class Measured(msgspec.Struct):
    chunks: int = 0
    frames: int = 0
    cpu_us: float = 0.0  # of all server processes, per chunk, less the idle baseline
    added_p50_ms: float = 0.0
    added_p99_ms: float = 0.0
    first_ms: list[float] = []  # prompt sent → first text, one per stream
    stretch: float = 0.0  # the slowest stream: its time at the client / its time at the upstream
    lost: list[str] = []
    load_core: float = 0.0  # share of a core that client and upstream used
    upstream_s: float = 0.0  # how long the upstream itself took over its slowest stream
    socket_kb: float = 0.0
    rss_mb: float = 0.0
