import redis

from tests.rig.service import OwnService, program


class OwnRedis(OwnService):
    """Without persistence: a restart finds it empty. `options` as on the command line of redis-server."""

    def __init__(self, **options: str) -> None:
        self._server = program("redis-server")
        super().__init__()
        self.options = options

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The same server behind another port: a proxy's."""
        return f"redis://127.0.0.1:{port}/0"

    def command(self) -> list[str]:
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        more = [word for name, value in self.options.items() for word in (f"--{name}", value)]
        return [self._server, *fixed, "--dir", str(self.folder), *more]

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
