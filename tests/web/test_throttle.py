from django.test import RequestFactory
from pytest_django.fixtures import Settings

from chat.web.throttle import TRIES, LoginThrottle, address_of


def test_tries_for_many_other_names_do_not_push_out_the_count_of_one() -> None:
    for _ in range(TRIES):
        assert LoginThrottle("guessed-at", "192.0.2.1").allows_one_more()
    for number in range(1_000):
        LoginThrottle(f"other-{number}", "192.0.2.1").allows_one_more()
    assert not LoginThrottle("guessed-at", "192.0.2.1").allows_one_more()


def test_the_address_is_the_proxys_word_only_where_the_proxy_is_trusted(settings: Settings) -> None:
    direct = RequestFactory().get("/", REMOTE_ADDR="10.0.0.2")
    named = RequestFactory().get("/", REMOTE_ADDR="10.0.0.2", headers={"X-Real-IP": "203.0.113.7"})
    assert [address_of(request) for request in (direct, named, None)] == ["10.0.0.2", "10.0.0.2", ""]
    settings.TRUST_PROXY = True
    assert [address_of(request) for request in (direct, named, None)] == ["10.0.0.2", "203.0.113.7", ""]
