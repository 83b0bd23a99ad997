"""docs/errors.md, the table in the code and the codes in use say the same, each way."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import chat
from chat.protocol.errors import OPERATION_ERRORS, RUN_ERRORS, CloseCode, ErrorCode
from chat.providers.failures import CODES, MESSAGES
from tests.docs.pages import read, rows, section

PAGE = read("docs/errors.md")
SOURCE = {file: ast.parse(file.read_text()) for file in Path(chat.__path__[0]).rglob("*.py")}
# What makes an error takes its code first.
MAKERS = {"ChatError", "Failure", "ProviderError", "failure", "_error"}
UNUSED = "Not used yet"


def unquoted(cell: str) -> str:
    return cell.strip("`")


def calls(*names: str) -> Iterator[ast.Call]:
    for tree in SOURCE.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                yield node


@cache
def codes_used() -> set[str]:
    written = {call.args[0].value for call in calls(*MAKERS) if call.args and isinstance(call.args[0], ast.Constant)}
    # The upstream's failures are found by status or by the upstream's own code.
    return {str(code) for code in written} | set(MESSAGES) | set(CODES.values())


@pytest.mark.parametrize(
    "heading, table", [("Of an operation", OPERATION_ERRORS), ("Of a run", RUN_ERRORS)], ids=["operation", "run"]
)
def test_the_page_has_every_code_of_the_table_in_its_order(heading: str, table: dict[str, ErrorCode]) -> None:
    told = [(unquoted(cells[0]), cells[1]) for cells in rows(section(PAGE, heading))]
    assert told == [(error.code, "yes" if error.retryable else "no") for error in table.values()]


def test_every_row_says_what_to_do_unless_nothing_sends_the_code() -> None:
    for cells in [*rows(section(PAGE, "Of an operation")), *rows(section(PAGE, "Of a run"))]:
        code, _, fault, meaning = cells[:4]
        assert fault in {"client", "server", "operator", "upstream", "nobody"}, code
        assert meaning.startswith(UNUSED) == (unquoted(code) not in codes_used()), code
        assert meaning.startswith(UNUSED) or (len(cells) == 5 and cells[4]), code


def test_the_server_uses_no_code_that_the_page_lacks() -> None:
    told = {unquoted(cells[0]) for heading in ("Of an operation", "Of a run") for cells in rows(section(PAGE, heading))}
    assert {"busy", "internal", "upstream_cut"} <= codes_used()
    assert codes_used() - told == set()


def test_the_page_has_every_close_code_and_knows_which_are_sent() -> None:
    told = {int(cells[0]): cells[1] for cells in rows(section(PAGE, "Close codes"))}
    assert {code for code in told if code >= 4000} == {code for code in CloseCode if code >= 4000}
    assert set(CloseCode) <= set(told)
    sent = {
        node.attr
        for tree in SOURCE.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "CloseCode"
    }
    for code in CloseCode:
        expected = "Tokenwire" if code.name in sent else "nobody yet"
        assert told[code] == expected, code.name


def test_the_page_has_every_system_check() -> None:
    told = [unquoted(cells[0]) for cells in rows(section(PAGE, "System checks"))]
    assert len(told) == len(set(told))
    in_code = re.findall(r'id="(chat\.[EW]\d{3})"', (Path(chat.__path__[0]) / "checks.py").read_text())
    assert sorted(in_code) == sorted(told)
    levels = {
        str(keyword.value.value): "Error" if isinstance(call.func, ast.Name) else "Warning"
        for call in [node for tree in SOURCE.values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for keyword in call.keywords
        if keyword.arg == "id" and isinstance(keyword.value, ast.Constant)
    }
    for id_ in in_code:
        assert levels[id_] == {"E": "Error", "W": "Warning"}[id_.removeprefix("chat.")[0]]
