"""What ninja's own OpenAPI description and its page leave out: errors, how one signs in, and our CSRF token."""

import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase

ERROR = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "retryable"],
            "properties": {
                "code": {"type": "string", "description": "One of docs/errors.md."},
                "message": {"type": "string", "description": "Safe to show; says what to do."},
                "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
                "field": {"type": "string", "description": "What of the request was wrong."},
                "retry_after_s": {"type": "number"},
            },
        }
    },
}


def described(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = ERROR
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "An API token."},
        "cookie": {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME},
    }
    schema["security"] = [{"token": []}, {"cookie": []}, *([{}] if settings.CHAT_GUESTS else [])]
    failed = {"description": "Any error", "content": {"application/json": {"schema": {"$ref": _ref("Error")}}}}
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault("default", failed)
    return schema


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


class Docs(DocsBase):
    """Swagger UI from this server's own files. "Try it out" is sent with the visitor's cookie and CSRF token."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        interface = {
            "url": self.get_openapi_url(api, kwargs),
            "layout": "BaseLayout",
            "deepLinking": True,
            # Else every page that is not on localhost would send the address of this one to swagger.io.
            "validatorUrl": None,
        }
        context = {"swagger_settings": json.dumps(interface), "api": api, "add_csrf": True}
        return render(request, "ninja/swagger.html", context)
