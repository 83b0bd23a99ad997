"""What a browser would make of a page, as far as these tests ask."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The tags with their attributes, and the text of every element with `data-text` or a given class."""

    VOID = {"meta", "link", "input", "br", "img", "hr", "path", "rect"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[bool] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag in self.VOID:
            return
        self._open.append("data-text" in attributes)
        if self._open[-1]:
            self.texts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1]:
            self.texts[-1] += data

    def names(self) -> list[str]:
        return [tag for tag, _ in self.tags]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def messages(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if attributes.get("data-message")]
