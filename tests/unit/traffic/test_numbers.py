"""Numbers for life, and slots that are used again."""

from proxy.traffic.numbers import Numbers


def test_a_name_keeps_its_number() -> None:
    numbers = Numbers()
    assert [numbers.backend("shop/web", 80), numbers.backend("shop/db", 80)] == [0, 1]
    assert numbers.backend("shop/web", 80) == 0
    assert numbers.backend("shop/web", 81) == 2
    assert [numbers.route("shop/a"), numbers.route("shop/b"), numbers.route("shop/a")] == [0, 1, 0]


def test_an_endpoint_keeps_its_slot_while_it_is_in_the_manifests() -> None:
    numbers = Numbers()
    places = []
    for _ in range(2):
        numbers.begin()
        places.append([numbers.endpoint(0, "10.0.0.1", 80), numbers.endpoint(0, "10.0.0.2", 80)])
        numbers.commit()
    assert places == [[(0, 1), (1, 1)]] * 2


def test_the_slot_of_one_that_left_serves_another_generation() -> None:
    numbers = Numbers()
    for hosts in (("a", "b"), ("b",)):
        numbers.begin()
        for host in hosts:
            numbers.endpoint(0, host, 80)
        numbers.commit()
    numbers.begin()
    assert numbers.endpoint(0, "c", 80) == (0, 2)
    assert numbers.endpoint(0, "b", 80) == (1, 1)
    numbers.commit()


def test_a_refused_model_takes_no_slot_and_frees_none() -> None:
    numbers = Numbers()
    numbers.begin()
    numbers.endpoint(0, "a", 80)
    numbers.commit()
    for generation in (1, 2, 3):  # what a refused one got is nobody's any more
        numbers.begin()
        assert numbers.endpoint(0, "b", 80) == (1, generation)
        numbers.refuse()
    numbers.begin()
    assert numbers.endpoint(0, "a", 80) == (0, 1)
    numbers.commit()


def test_a_hundred_thousand_changes_take_no_more_slots_than_endpoints() -> None:
    numbers = Numbers()
    slots = set()
    for change in range(1000):
        numbers.begin()
        for i in range(10):
            slots.add(numbers.endpoint(0, f"{change}.{i}", 80)[0])
        numbers.commit()
    assert len(slots) == 20
