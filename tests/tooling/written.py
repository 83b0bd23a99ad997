from types import SimpleNamespace


class Written(SimpleNamespace):
    """A transport that keeps what it was last given."""

    closing = False

    def write(self, data: bytes) -> None:
        self.data = data

    def is_closing(self) -> bool:
        return self.closing
