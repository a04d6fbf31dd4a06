"""Groups of requests: made with the first one, found again, bounded, and nothing goes uncounted."""

from types import ModuleType

UNKNOWN, OTHER, FIRST = 0, 1, 2
REST, REST_ERROR = 1, 600


def test_each_service_and_direction_is_counted_apart(probe: ModuleType) -> None:
    groups = probe.Groups()
    for service, direction, count in ((UNKNOWN, 0, 1), (FIRST, 0, 2), (FIRST, 1, 3)):
        for _ in range(count):
            assert groups.begin(service, direction=direction) == service
    begun = {key: count for key, count in groups.begun().items() if count}
    assert begun == {(0, UNKNOWN, False): 1, (0, FIRST, False): 2, (1, FIRST, False): 3}


def test_what_goes_over_mesh_tls_is_counted_apart(probe: ModuleType) -> None:
    groups = probe.Groups()
    groups.begin(FIRST, mesh=True)
    groups.begin(FIRST)
    begun = {key: count for key, count in groups.begun().items() if count}
    assert begun == {(0, FIRST, True): 1, (0, FIRST, False): 1}


def test_every_group_is_met_once_however_many_share_a_bucket(probe: ModuleType) -> None:
    groups = probe.Groups()
    services = range(FIRST, FIRST + 4_000)
    for service in services:
        groups.begin(service, direction=service % 3)
    begun = {service: count for (_, service, _), count in groups.begun().items() if count}
    assert begun == dict.fromkeys(services, 1)


def test_one_service_too_many_is_counted_with_the_others_of_its_direction(
    probe: ModuleType,
) -> None:
    groups = probe.Groups()
    for service in range(FIRST, FIRST + probe.Groups.MAX):
        assert groups.begin(service, direction=2) == service
    assert groups.begin(FIRST + probe.Groups.MAX, direction=2) == OTHER
    assert groups.begin(FIRST, direction=2) == FIRST
    assert groups.begin(FIRST, direction=0) == OTHER
    begun = groups.begun()
    assert begun[2, OTHER, False] == begun[0, OTHER, False] == 1
    assert begun[2, FIRST, False] == 2


def test_without_memory_a_service_is_counted_with_the_others(probe: ModuleType) -> None:
    groups = probe.Groups()
    probe.arm("posix_memalign", 1)
    try:
        assert groups.begin(FIRST) == OTHER
    finally:
        assert probe.disarm()
    assert groups.begin(FIRST) == FIRST
    assert groups.begun()[0, OTHER, False] == groups.begun()[0, FIRST, False] == 1


def test_groups_are_freed_with_their_worker(probe: ModuleType) -> None:
    memory = probe.held_memory()
    groups = probe.Groups()
    for service in range(FIRST, FIRST + 100):
        groups.begin(service)
    assert probe.held_memory() == memory + 100
    del groups
    assert probe.held_memory() == memory


def test_endings_are_counted_by_status_and_flag(probe: ModuleType) -> None:
    groups = probe.Groups()
    for status, flag, count in ((200, 0, 3), (503, 0, 1), (503, 4, 2), (0, 2, 1)):
        for _ in range(count):
            groups.end(FIRST, status, flag)
    assert groups.endings(FIRST) == {(200, 0): 3, (503, 0): 1, (503, 4): 2, (0, 2): 1}


def test_endings_without_a_place_keep_their_flag_and_whether_they_were_errors(
    probe: ModuleType,
) -> None:
    groups = probe.Groups()
    own = range(200, 200 + probe.Groups.ENDINGS)
    for status in (*own, 499, 500, 599, 200):
        groups.end(FIRST, status, 0)
    groups.end(FIRST, 500, 4)
    expected = {(status, 0): 1 for status in own} | {(200, 0): 2}
    assert groups.endings(FIRST) == expected | {
        (REST, 0): 1,
        (REST_ERROR, 0): 2,
        (REST_ERROR, 4): 1,
    }
