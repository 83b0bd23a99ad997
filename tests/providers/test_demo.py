import pytest

from chat.providers.base import ChatTurn, Finish, ProviderError, Request, TextDelta
from chat.providers.demo import ANSWER, ESSAY, DemoModel, pieces
from tests.providers.conftest import Heard, ask, hear

DEMO = DemoModel(pace=0)


async def test_it_works() -> None:
    heard = await hear(DEMO, ask("Hello there"))
    assert heard.text.endswith(ANSWER)
    assert "OPENAI_API_KEY" in heard.text
    assert "offline demo" in heard.text
    assert heard.deltas[-1] == Finish("stop")
    assert heard.usage is not None
    assert heard.usage.estimated


async def test_it_says_the_same_to_the_same_prompt() -> None:
    assert await hear(DEMO, ask("Hello")) == await hear(DEMO, ask("Hello"))


async def test_it_shows_that_it_read_the_prompt_and_counts_the_turns() -> None:
    prompt = "where is *Brno*\nplease " + "x" * 99
    turns = [ChatTurn("user", "first"), ChatTurn("assistant", "a"), ChatTurn("user", prompt)]
    text = (await hear(DEMO, Request(model="demo", turns=turns))).text
    assert text.startswith("This is turn 2 of our conversation. You wrote: “where is Brno please xxx")
    assert len(text.splitlines()[0]) < 150


async def test_it_writes_in_pieces_of_words() -> None:
    heard = await hear(DEMO, ask("Hello"))
    sizes = [len(delta.text.strip()) for delta in heard.deltas if isinstance(delta, TextDelta)]
    assert len(sizes) > 200
    assert max(sizes) <= 8


@pytest.mark.parametrize("text", [ANSWER, ESSAY, "žluťoučký 流れる مرحبا 👩‍🚀\n\n\n a  b", ""])
def test_pieces_lose_nothing(text: str) -> None:
    assert "".join(pieces(text)) == text


async def test_long_is_long() -> None:
    heard = await hear(DEMO, ask("Tell me a LONG story"))
    assert 1700 < len(heard.text.split()) < 2300
    assert ESSAY not in (await hear(DEMO, ask("how far along are you"))).text


@pytest.mark.parametrize("prompt", ["think first", "give a reason"])
async def test_think_reasons_before_it_answers(prompt: str) -> None:
    heard = await hear(DEMO, ask(prompt))
    kinds = [type(delta).__name__ for delta in heard.deltas]
    assert heard.reasoning
    assert kinds.index("ReasoningDelta") < kinds.index("TextDelta")
    assert heard.usage is not None
    assert heard.usage.reasoning_tokens > 10


async def test_fail_fails_half_way() -> None:
    heard = Heard()
    with pytest.raises(ProviderError) as raised:
        await hear(DEMO, ask("please fail"), heard)
    assert raised.value.code == "upstream_unavailable"
    assert 200 < len(heard.text) < 400


async def test_it_names_itself() -> None:
    assert [(model.id, model.label) for model in await DEMO.models()] == [("demo", "Offline demo")]
    assert "demo" in (await DEMO.models())[0].capabilities


async def test_a_title_is_the_prompts_first_words() -> None:
    assert await DEMO.complete(ask("one two three four five six seven")) == "one two three four five six"
    assert await DEMO.complete(ask("Prompt:\nWhat is *rain*?\n\nAnswer:\nWater.")) == "What is rain ?"
    assert await DEMO.complete(ask("")) == "Demo"
