"""What must be found, played on the suite's SQLite and, in a process of its own, on Postgres."""

import random
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection

from chat.models import ChatSession, Message, search_index
from chat.models.ids import new_id
from chat.runs import search
from chat.runs.owner import Owner
from chat.web.accounts import hand_over

WORDS = [
    "apple",
    "apply",
    "pear",
    "plum",
    "ärger",
    "Ångström",
    "straße",
    "naïve",
    "日本語",
    "x1",
    "2026",
    "don't",
    "a_b",
]


_APPLES = ["apples/and/pears.txt", "An apple, a pear."]
_GERMAN = ["Das ist ein ÄRGER über Straßen"]
_MAIL = ["e-mail: someone@example.org, call f(x_1) <b>bold</b>"]
_CJK = ["中文测试。日本語のテスト"]
_TITLE = ["A title about Zürich"]
EXPECTED = {
    "apple": _APPLES, "apple ": _APPLES[1:], "APPL": _APPLES, "pear apple": _APPLES[1:], "a": _TITLE + _APPLES[1:],
    "zurich": _TITLE, "zürich": _TITLE, "Zu\u0308rich": _TITLE, "arger": _GERMAN, "straßen": _GERMAN, "example": _MAIL,
    "someone@example.org": _MAIL, "x_1": _MAIL, "bold": _MAIL, "txt pear": _APPLES[:1], "中文": _CJK, "日本": _CJK,
    "title": _TITLE, "\0apple\0": _APPLES[1:], "apple*": _APPLES[1:], "-apple": _APPLES, "AND": _APPLES[:1],
    "apple " * 500: _APPLES[1:],
}  # fmt: skip


def caught_up() -> None:
    while search_index.catch_up():
        pass


def prepare() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def user(name: str) -> Owner:
    return Owner(user=User.objects.create(username=name).pk)


def chat(owner: Owner, title: str, *texts: str) -> ChatSession:
    session = ChatSession.objects.create(owner_id=owner.user, guest=owner.guest, title=title)
    for number, text in enumerate(texts):
        say(session, text, Message.Role.ASSISTANT if number % 2 else Message.Role.USER)
    return session


def say(session: ChatSession, text: str, role: str = "user", status: str = "done") -> Message:
    return Message.objects.create(session=session, role=role, status=status, text=text)


def found(owner: Owner, query: str) -> list[tuple[str, str]]:
    """Title and snippet of all hits, page by page."""
    caught_up()
    hits, cursor = search.find(owner, query, most=3)
    while cursor is not None:
        page, cursor = search.find(owner, query, cursor, most=3)
        hits += page
    return [(hit.title, hit.snippet) for hit in hits]


def queries() -> dict[str, list[str]]:
    """Which of a few texts each of some queries finds."""
    owner = user(f"asks {new_id()}")
    other = user(f"another {new_id()}")
    chat(other, "apple pie", "all the apples are mine")
    chat(
        owner,
        "A title about Zürich",
        "An apple, a pear.",
        "apples/and/pears.txt",
        "Das ist ein ÄRGER über Straßen",
        "e-mail: someone@example.org, call f(x_1) <b>bold</b>",
        "中文测试。日本語のテスト",
        "",
    )
    asked = [
        "apple", "apple ", "APPL", "pear apple", "a", "zurich", "zürich", "Zu\u0308rich", "arger", "straßen", "example",
        "someone@example.org", "x_1", "bold", "txt pear", "中文", "日本", "テスト", "", "   ", "!?*\"'()^-:", "title",
        "\0apple\0", 'apple" OR "bold', "apple NOT pear", "apple*", "text : apple", "NEAR(apple pear)", "x" * 5000,
        "apple " * 500, "{text}: apple", "-apple", "\ud83d\ude00", "AND", "apple AND", "' & | !", "%s %d %(x)s", "\\",
    ]  # fmt: skip
    return {query: [snippet for _, snippet in found(owner, query)] for query in asked}


def stays_true(seed: str) -> dict[str, object]:
    """After any changes, each owner finds just what a look at all there is finds."""
    chance = random.Random(seed)
    owners = [user(f"{seed} {number}") for number in range(2)] + [Owner(guest=f"{seed} guest {n}") for n in range(2)]
    for _ in range(120):
        change(chance, owners)
        if chance.random() < 0.1:
            caught_up()
    wrong = []
    for owner in owners:
        for word in WORDS:
            told = {(hit.session, hit.message) for hit in everything(owner, f"{word} ")}
            if told != there(owner, word):
                wrong.append((owner.requester, word))
    some = entries() > 0
    for session in owners[0].sessions():
        session.delete()
    ChatSession.objects.all().delete()
    caught_up()
    return {"wrong": wrong, "entries": some, "left": left_over()}


def change(chance: random.Random, owners: list[Owner]) -> None:
    owner = chance.choice(owners)
    sessions = list(owner.sessions())
    text = " ".join(chance.choices(WORDS, k=chance.randint(0, 4)))
    if not sessions or chance.random() < 0.2:
        chat(owner, text)
        return
    session = chance.choice(sessions)
    match chance.randint(0, 8):
        case 0 | 1 | 2:
            say(session, text)
        case 3:
            answer = say(session, "", "assistant", "streaming")
            if chance.random() < 0.8:
                Message.objects.filter(id=answer.id).update(text=text, status=chance.choice(["done", "failed"]))
        case 4:
            ChatSession.objects.filter(id=session.id).update(title=text)
        case 5:
            Message.objects.filter(id__in=list(session.messages.values_list("id", flat=True)[:1])).delete()
        case 6:
            ChatSession.objects.filter(id__in=[session.id]).delete()
        case 7 if owner.user is None:
            hand_over(owner, owners[0])
        case _:
            for message in session.messages.exclude(status="streaming")[:2]:
                message.text = text
                message.save()


def everything(owner: Owner, query: str) -> list[search.Hit]:
    caught_up()
    hits, _ = search.find(owner, query, most=10_000)
    return hits


def there(owner: Owner, word: str) -> set[tuple[UUID, UUID | None]]:
    def has(text: str) -> bool:
        wanted = [search.fold(each) for each in search.parse(word).words]
        return set(wanted) <= {search.fold(each) for each in search._WORD.findall(text)}

    titles = {(session.id, None) for session in owner.sessions() if has(session.title)}
    messages = Message.objects.filter(session__in=owner.sessions()).exclude(status="streaming")
    return titles | {(message.session_id, message.id) for message in messages if has(message.text)}


def entries() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM chat_searchentry")
        return int(cursor.fetchall()[0][0])


def left_over() -> list[int]:
    """Rows of the index once nothing is there to be found."""
    tables = ["entry", "owner", "queue", "index"] if connection.vendor == "sqlite" else ["entry"]
    with connection.cursor() as cursor:
        counts = []
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM chat_search{table}")
            counts.append(int(cursor.fetchall()[0][0]))
    return counts
