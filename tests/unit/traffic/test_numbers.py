"""Numbers for life, and slots that are used again."""

from proxy.traffic.numbers import Numbers, Place


def test_a_name_keeps_its_number() -> None:
    numbers = Numbers()
    assert [numbers.backend("shop/web", 80), numbers.backend("shop/db", 80)] == [0, 1]
    assert numbers.backend("shop/web", 80) == 0
    assert numbers.backend("shop/web", 81) == 2
    assert [numbers.route("shop/a"), numbers.route("shop/b"), numbers.route("shop/a")] == [0, 1, 0]


def hosts(numbers: Numbers, *names: str) -> list[Place]:
    """Return the places of endpoints of one backend, in one model."""
    numbers.begin()
    return list(numbers.endpoints(0, [(name, 80) for name in names]).values())


def test_an_endpoint_keeps_its_slot_while_it_is_in_the_manifests() -> None:
    numbers = Numbers()
    for _ in range(2):
        assert hosts(numbers, "a", "b") == [(0, 1), (1, 1)]
        numbers.commit()


def test_the_slot_of_one_that_left_serves_another_generation() -> None:
    numbers = Numbers()
    hosts(numbers, "a", "b")
    numbers.commit()
    hosts(numbers, "b")
    numbers.commit()
    assert hosts(numbers, "c", "b") == [(0, 2), (1, 1)]


def test_a_backend_that_left_gives_its_slots_back() -> None:
    numbers = Numbers()
    hosts(numbers, "a", "b")
    numbers.commit()
    numbers.begin()
    numbers.commit()
    assert hosts(numbers, "c", "d", "e") == [(0, 2), (1, 2), (2, 1)]


def test_a_refused_model_takes_no_slot_and_frees_none() -> None:
    numbers = Numbers()
    hosts(numbers, "a")
    numbers.commit()
    for generation in (1, 2, 3):  # what a refused one got is nobody's any more
        assert hosts(numbers, "b") == [(1, generation)]
        numbers.refuse()
    assert hosts(numbers, "a") == [(0, 1)]


def test_many_changes_take_no_more_slots_than_endpoints() -> None:
    numbers = Numbers()
    slots = set()
    for change in range(1000):
        slots |= {slot for slot, _ in hosts(numbers, *(f"{change}.{i}" for i in range(10)))}
        numbers.commit()
    assert len(slots) == 20
