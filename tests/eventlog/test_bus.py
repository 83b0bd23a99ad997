"""The bus tells who follows a run, within the process."""

from collections.abc import Sequence

from chat.eventlog import Bus
from chat.protocol.events import Event

EVENT = Event(1, "text.delta", "{}")


class Listener:
    def __init__(self, bus: Bus | None = None) -> None:
        self.bus = bus
        self.heard: list[object] = []

    def take(self, events: Sequence[Event]) -> None:
        self.heard += events
        if self.bus is not None:
            self.bus.unsubscribe("r", self)

    def reach(self, top: int) -> None:
        self.heard.append(top)

    def close(self) -> None:
        self.heard.append("closed")


def test_it_works() -> None:
    bus, one, two, other = Bus(), Listener(), Listener(), Listener()
    bus.subscribe("r", one)
    bus.subscribe("r", two)
    bus.subscribe("s", other)
    bus.publish("r", [EVENT])
    bus.reach("r", 5)
    assert one.heard == two.heard == [EVENT, 5]
    assert other.heard == []
    assert sorted(bus.followed) == ["r", "s"]


def test_one_that_leaves_while_it_is_told_hides_nothing_from_the_next() -> None:
    bus = Bus()
    leaving, staying = Listener(bus), Listener()
    bus.subscribe("r", leaving)
    bus.subscribe("r", staying)
    bus.publish("r", [EVENT])
    bus.publish("r", [EVENT])
    assert leaving.heard == [EVENT]
    assert staying.heard == [EVENT, EVENT]


def test_a_run_that_nobody_follows_is_forgotten() -> None:
    bus, one = Bus(), Listener()
    bus.subscribe("r", one)
    bus.unsubscribe("r", one)
    bus.unsubscribe("r", one)
    bus.publish("r", [EVENT])
    assert (bus.followed, one.heard) == ([], [])


def test_all_followers_of_a_run_that_is_gone_are_told() -> None:
    bus, one, other = Bus(), Listener(), Listener()
    bus.subscribe("r", one)
    bus.subscribe("s", other)
    bus.end("r")
    assert (one.heard, other.heard) == (["closed"], [])
