from chat.web.throttle import TRIES, LoginThrottle


def test_tries_for_many_other_names_do_not_push_out_the_count_of_one() -> None:
    for _ in range(TRIES):
        assert LoginThrottle("guessed-at", "192.0.2.1").allows_one_more()
    for number in range(1_000):
        LoginThrottle(f"other-{number}", "192.0.2.1").allows_one_more()
    assert not LoginThrottle("guessed-at", "192.0.2.1").allows_one_more()
