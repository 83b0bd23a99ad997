"""How an answer looks while it is written and at its end. The modules are run in the page, on text that grows."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.people import Person

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (ROOT / "node_modules" / ".installed").exists() and not os.environ.get("REQUIRE_SERVICES"),
        reason="the packages of package.json are not installed: scripts/front_end.py says why",
    ),
]

ANSWER = r"""# A title

Some **bold**, *slanted*, ~~struck~~ and `code` words with a [link](https://example.org/a_b "t") and 2 * 3 * 4,
a snake_case_name, a hard\
break and an autolink https://example.org/x.

- one
- two
  - nested **deep**

    with a paragraph
- [x] done

3. three
4. four

| left | right |
|:-----|------:|
| `a|b` | **1** |
| c |

> quoted *words*
>
> ```py
> x = "```"
> ```

~~~~js
const fence = "~~~";
~~~~

    indented code

Formulas: $e^{i\pi} + 1 = 0$ and \(a_b\), prices of $5 and $6, then

$$
\int_0^1 x^2 \, dx
$$

Setext
------

<div onclick="x()">raw</div>

[reference][r] and an end.

[r]: https://example.org/r
"""

GROW = """async ([text, steps]) => {
    const { MarkdownView } = await import("chat/markdown/view");
    const grown = document.createElement("div"), whole = document.createElement("div");
    const view = new MarkdownView(grown);
    const seen = [];
    for (const end of steps) {
        view.update(text.slice(0, end), false);
        await new Promise((drawn) => setTimeout(drawn));
        seen.push(grown.textContent);
    }
    view.update(text, true);
    new MarkdownView(whole).update(text, true);
    // Formulas and colours are loaded, and drawn later.
    const settled = (each) => !each.querySelector(".math:not([title])");
    while (![grown, whole].every(settled)) await new Promise((drawn) => setTimeout(drawn, 20));
    return { seen, grown: grown.innerHTML, whole: whole.innerHTML, source: grown.source };
}"""

LOOKS = """async (text) => {
    const { MarkdownView } = await import("chat/markdown/view");
    const element = document.createElement("div");
    new MarkdownView(element).update(text, false);
    return element.innerHTML.replace(/ (rel|target|tabindex)="[^"]*"/g, "").trim();
}"""


def test_an_answer_that_grew_by_any_steps_looks_like_the_whole(alice: Person) -> None:
    # Of references only the lines that come later know: what stood before them is not drawn anew.
    text = ANSWER.replace("[reference][r]", "a reference")
    for step in (1, 7, 64):
        found: Any = alice.page.evaluate(GROW, [text, list(range(step, len(text), step))])
        assert found["grown"] == found["whole"], step
        assert found["source"] == text


def test_what_is_half_written_shows_no_markers(alice: Person) -> None:
    steps = list(range(1, len(ANSWER)))
    found: Any = alice.page.evaluate(GROW, [ANSWER, steps])
    for end, seen in zip(steps, found["seen"], strict=True):
        assert "**" not in seen, ANSWER[:end]
        assert "](" not in seen, ANSWER[:end]
        assert "|--" not in seen, ANSWER[:end]


@pytest.mark.parametrize(
    "text, looks",
    [
        ("a **bo", "<p>a <strong>bo</strong></p>"),
        ("a *it", "<p>a <em>it</em></p>"),
        ("use `co", "<p>use <code>co</code></p>"),
        ("see [the li", "<p>see the li</p>"),
        ("see [link](https://exa", "<p>see link</p>"),
        ("an ![image](https://exa", "<p>an image</p>"),
        ("| a | b", ""),
        ("text\n-", "<p>text</p>"),
        ("# ", ""),
        ("1 * 2", "<p>1 * 2</p>"),
        ("snake_case", "<p>snake_case</p>"),
        ("costs $5 and", "<p>costs $5 and</p>"),
        ("<b>raw</b>", "<p>&lt;b&gt;raw&lt;/b&gt;</p>"),
        ("![i](https://e.org/i.png) x", '<p><a href="https://e.org/i.png">i</a> x</p>'),
        ("[x](ftp://e.org) [y](//e.org) [z](/admin/)", "<p>x y z</p>"),
    ],
)
def test_it_looks_right_at_once(alice: Person, text: str, looks: str) -> None:
    assert alice.page.evaluate(LOOKS, text) == looks


def test_what_is_finished_is_rendered_once_and_a_selection_in_it_survives(alice: Person) -> None:
    kept = alice.page.evaluate(
        """async () => {
            const { MarkdownView } = await import("chat/markdown/view");
            const element = document.createElement("div");
            const view = new MarkdownView(element);
            const shows = async (text) => {
                view.update(text, false);
                while (element.source !== text) await new Promise((drawn) => setTimeout(drawn, 5));
            };
            await shows("first\\n\\n```py\\nx = 1\\n");
            const [first, code] = [element.children[0], element.querySelector("code").firstChild];
            await shows("first\\n\\n```py\\nx = 1\\ny = 2\\n");
            const growing = element.querySelector("code").firstChild === code && code.data === "x = 1\\ny = 2";
            await shows("first\\n\\n```py\\nx = 1\\ny = 2\\n```\\nlast");
            return [growing, element.children[0] === first, element.lastElementChild.textContent];
        }"""
    )
    assert kept == [True, True, "last"]


def test_code_has_its_language_its_colours_and_a_copy(alice: Person) -> None:
    alice.page.evaluate(
        """async (text) => {
            const { MessageView } = await import("chat/message_view");
            const view = new MessageView();
            document.querySelector(".thread__messages").append(view.element);
            view.update({ id: "m", role: "assistant", status: "done", siblings: [], parts: [{ type: "text", text }] });
            document.querySelector(".main").dataset.empty = false;
        }""",
        "Look:\n\n```python\ndef f():\n    return None\n```\n",
    )
    block = alice.answers.last.locator(".code")
    assert block.locator(".code__language").text_content() == "python"
    block.locator(".hljs-keyword").first.wait_for()
    assert block.locator("code").text_content() == "def f():\n    return None"
    alice.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block.get_by_role("button", name="Copy").click()
    block.locator("[data-done]").wait_for()
    assert alice.page.evaluate("navigator.clipboard.readText()") == "def f():\n    return None"
    assert alice.complaints == []
