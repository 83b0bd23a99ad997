import asyncio

import pytest

from chat.providers.watchdog import Timeouts, Watchdog


async def wait(dog: Watchdog, seconds: float = 5) -> str:
    dog.begin()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        return dog.expired if dog.interrupted() else "cancelled"
    finally:
        dog.end()
    return ""


async def test_the_limit_that_is_due_first_fires() -> None:
    assert await wait(Watchdog(Timeouts(first_token=0.05, total=9))) == "first_token"
    assert await wait(Watchdog(Timeouts(first_token=9, total=0.05))) == "total"


async def test_a_short_idle_limit_holds_from_the_first_token() -> None:
    dog = Watchdog(Timeouts(first_token=9, idle=0.1))
    dog.started()
    assert [await wait(dog, 0.06) for _ in range(3)] == ["", "", ""]
    assert await wait(dog) == "idle"


async def test_a_cancel_from_outside_goes_first() -> None:
    dog = Watchdog(Timeouts(first_token=0.05))
    task = asyncio.create_task(wait(dog))
    await asyncio.sleep(0)
    task.get_loop().call_at(task.get_loop().time() + 0.04, task.cancel)
    assert await task == "cancelled"
    dog.close()


async def test_both_cancels_in_one_turn_leave_the_outer_one() -> None:
    made: list[Watchdog] = []

    async def waits() -> str:
        made.append(dog := Watchdog(Timeouts(first_token=0.05)))
        dog.begin()
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return "ours" if dog.interrupted() else "theirs"
        return ""

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    made[0]._first = 0
    made[0]._check()
    task.cancel()
    assert await task == "theirs"
    assert task.cancelling() == 1


async def test_nobody_is_cancelled_who_does_not_wait_for_the_upstream() -> None:
    dog = Watchdog(Timeouts(first_token=0.05))
    dog.begin()
    dog.end()
    await asyncio.sleep(0.15)
    assert dog.expired == ""
    assert await wait(dog) == "first_token"


async def test_a_closed_watchdog_does_nothing() -> None:
    dog = Watchdog(Timeouts(first_token=0.02))
    dog.begin()
    dog.close()
    await asyncio.sleep(0.06)
    assert dog.expired == ""


@pytest.mark.parametrize("count", [1000])
async def test_reads_set_no_timers(count: int) -> None:
    dog = Watchdog(Timeouts())
    handle = dog._handle
    for _ in range(count):
        dog.begin()
        dog.end()
    assert dog._handle is handle
    dog.close()
