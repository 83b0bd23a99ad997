"""The admin's pages under a policy that allows nothing inline."""

from html.parser import HTMLParser

from django.contrib.auth.models import User
from django.test import Client

from tests.admin.people import chat, log


class Inline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or "style" in names or any(name.startswith("on") for name in names):
            self.found.append(f"{tag} {names}")
        if tag == "script" and "src" not in names and names.get("type") not in ("application/json",):
            self.found.append(f"{tag} {names}")


def test_no_page_has_inline_style_or_script(root: Client, alice: User) -> None:
    made = chat(alice)
    log(made.run, 3)
    pages = ["/admin/"]
    for name, row in (("chatsession", made.session), ("message", made.answer), ("run", made.run)):
        pages += [f"/admin/chat/{name}/", f"/admin/chat/{name}/{row.pk}/change/"]
    pages.append(f"/admin/chat/chatsession/{made.session.pk}/delete/")
    for url in pages:
        inline = Inline()
        inline.feed(root.get(url).content.decode())
        assert not inline.found, url


def test_every_page_names_its_icon(root: Client, client: Client, alice: User) -> None:
    # Without it each browser asks for /favicon.ico, and the log fills with 404s.
    made = chat(alice)
    link = '<link rel="icon" href="/static/chat/icon.svg"'
    assert link in client.get("/admin/login/").content.decode()
    for url in ("/admin/", "/admin/chat/run/", f"/admin/chat/chatsession/{made.session.pk}/change/"):
        assert link in root.get(url).content.decode(), url
