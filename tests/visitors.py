"""A browser's HTTP side, small: signs up, in and out of the real server and knows its cookies."""

import http.client
import re
import secrets
from http.cookies import SimpleCookie
from urllib.parse import urlencode

PASSWORD = "a long enough secret 7"
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Visitor:
    def __init__(self, port: int, name: str = "") -> None:
        self.port = port
        self.name = name or f"user{secrets.token_hex(4)}"
        self.cookies: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    @property
    def session_key(self) -> str:
        return self.cookies["sessionid"]

    def request(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            headers = {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{self.port}"}
            if form is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request(method, path, urlencode(form or {}) if form is not None else None, headers)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return response.status, body

    def post(self, path: str, **form: str) -> str:
        """Fill in the form that the page shows; a redirect is the success of every form here."""
        _, page = self.request("GET", path)
        token = _TOKEN.search(page)
        fields = {"csrfmiddlewaretoken": token[1] if token else self.cookies["csrftoken"], **form}
        status, answer = self.request("POST", path, fields)
        assert status == 302, (status, path, answer[-2000:])
        return answer

    def sign_up(self) -> "Visitor":
        self.post("/signup/", username=self.name, password1=PASSWORD, password2=PASSWORD)
        return self

    def sign_in(self, password: str = PASSWORD) -> "Visitor":
        self.post("/login/", username=self.name, password=password)
        return self

    def sign_out(self) -> None:
        _, page = self.request("GET", "/")
        token = _TOKEN.search(page)
        fields = {"csrfmiddlewaretoken": token[1] if token else self.cookies["csrftoken"]}
        status, _ = self.request("POST", "/logout/", fields)
        assert status == 302

    def change_password(self, new: str) -> None:
        self.post("/password/", old_password=PASSWORD, new_password1=new, new_password2=new)

    def visit(self) -> "Visitor":
        """As a guest: the page gives a session cookie."""
        status, _ = self.request("GET", "/")
        assert status == 200
        return self
