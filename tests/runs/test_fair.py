"""Nobody waits behind somebody else's queue."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from chat.runs.fair import pick, reserve

requesters = st.sampled_from("abcd")


def test_it_works() -> None:
    waiting = [(1, "a"), (2, "a"), (3, "b"), (4, "a")]
    assert pick(waiting, {}, 3, 0) == [1, 3, 2]
    assert pick(waiting, {"b": 1}, 2, 0) == [1, 2]
    assert pick(waiting, {}, 9, 0) == [1, 3, 2, 4]


def test_the_last_places_are_for_those_who_have_none_running() -> None:
    many = [(number, "a") for number in range(50)]
    assert pick(many, {"a": 3}, 2, 1) == [0]
    assert pick(many, {"a": 3}, 1, 1) == []
    assert pick([*many, (99, "b")], {"a": 3}, 1, 1) == [99]


def test_a_worker_of_one_place_reserves_none() -> None:
    assert [reserve(capacity) for capacity in (0, 1, 2, 10, 1000)] == [0, 0, 1, 1, 100]


@given(
    st.lists(requesters, max_size=30),
    st.dictionaries(requesters, st.integers(0, 5)),
    st.integers(0, 12),
    st.integers(0, 3),
)
def test_what_is_picked_is_fair(queue: list[str], running: dict[str, int], room: int, reserved: int) -> None:
    waiting = list(enumerate(queue))
    picked = pick(waiting, running, room, reserved)
    assert len(picked) == len(set(picked)) <= room
    for requester in set(queue):
        mine = [run for run, who in waiting if who == requester]
        taken = [run for run in picked if queue[run] == requester]
        assert taken == mine[: len(taken)], "oldest first"
        if not running.get(requester) and room >= len({who for who in queue if not running.get(who)}):
            assert taken, "who has nothing running gets a place while there is one for each such"
    after = Counter(running)
    after.update(queue[run] for run in picked)
    left = {queue[run] for run, _ in waiting if run not in picked}
    for requester in {queue[run] for run in picked}:
        for other in left:
            assert after[requester] <= after[other] + 1 or running.get(requester, 0) > after[other]
