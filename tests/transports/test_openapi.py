"""The description at /api/openapi.json against the server: it answers what it says, whatever it is sent."""

from functools import cache
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from chat.api.app import api
from tests.servers import ServerProcess
from tests.stored import Stored
from tests.tokens import give_token
from tests.transports.people import People
from tests.transports.rest import Rest

# The parser of HTTP is all that differs between the two.
EXAMPLES = {"uvicorn": 8, "daphne": 2}
CHECKS: Any = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    allow_header_conformance,
]


def _raw(operation: Any) -> dict[str, Any]:
    raw: dict[str, Any] = operation.definition.raw
    return raw


DESCRIBED = schemathesis.openapi.from_dict(dict(api.get_openapi_schema()))
OPERATIONS = [found.ok() for found in DESCRIBED.get_all_operations() if isinstance(found, Ok)]
ASKED = [
    pytest.param(operation, mode, id=f"{operation.label}-{mode.value}")
    for operation in OPERATIONS
    for mode in GenerationMode
    # Nothing can be wrong with a request that says nothing.
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & {k for k, v in _raw(operation).items() if v}
]


@cache
def things_of(server: ServerProcess) -> tuple[dict[str, str], dict[str, str]]:
    """Of Bob: how he signs in, and an id for each parameter of a path."""
    stored = Stored(server.database)
    token = give_token(stored, "bob")
    made = Rest(server, token).post("/api/sessions", {"title": "Described"})["id"]
    return token.headers, {"session": made, "token": str(token.id), "run": made, "message": made}


@pytest.mark.parametrize("operation, mode", ASKED)
def test_it_answers_as_described(server: ServerProcess, people: People, operation: Any, mode: GenerationMode) -> None:
    headers, things = things_of(server)
    with requests.Session() as session:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES[server.kind],
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            if mode is GenerationMode.POSITIVE and case.method != "DELETE":
                case.path_parameters = {name: things[name] for name in case.path_parameters or ()}
            response = case.call(base_url=server.origin, session=session, headers=headers)
            case.validate_response(response, checks=CHECKS)

        check()


def test_all_that_is_described_was_asked() -> None:
    assert len(OPERATIONS) == sum(len(methods) for methods in api.get_openapi_schema()["paths"].values()) > 10
    names = [_raw(operation)["operationId"] for operation in OPERATIONS]
    assert len(names) == len(set(names))
