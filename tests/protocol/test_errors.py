"""Every code that the program uses is in the one table, and every row of the table has its one meaning."""

import ast
from pathlib import Path

import pytest

import chat
from chat.protocol.errors import ERRORS, OPERATION_ERRORS, RUN_ERRORS, ChatError
from chat.protocol.frames import Error, encode

RAISED = {"ChatError", "Failure", "ProviderError"}


def codes_used() -> dict[str, str]:
    """Code → the file that raises it, for every code that is written out."""
    found: dict[str, str] = {}
    for file in Path(chat.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    found[code.value] = file.name
    return found


def test_every_code_in_use_is_in_the_table() -> None:
    used = codes_used()
    assert {"busy", "not_found", "storage", "worker_lost"} <= set(used)
    assert set(used) - set(ERRORS) == set()


def test_no_code_stands_for_both_an_operation_and_a_run() -> None:
    assert OPERATION_ERRORS.keys().isdisjoint(RUN_ERRORS)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_code_has_an_http_status_of_an_error(code: str) -> None:
    assert 400 <= ERRORS[code].status <= 599
    assert ERRORS[code].code == code


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_an_error_frame_always_says_whether_to_try_again(code: str) -> None:
    sent = encode(Error.of(ChatError(code, "Why.", field="text"), re="one"))
    assert f'"retryable":{str(ERRORS[code].retryable).lower()}' in sent
    assert '"re":"one"' in sent
    assert '"field":"text"' in sent
    assert "top" not in sent
