"""JSONPatch: pointers, and a document that is changed and left as it was."""

import pytest

from inject.patch import Operation, apply, names_of, pointer
from tests.unit.inject.manifests import planned, pod


def test_slashes_and_tildes_of_names_are_escaped() -> None:
    path = pointer("metadata", "labels", "a/b~c", 0)
    assert path == "/metadata/labels/a~1b~0c/0"
    assert names_of(path) == ["metadata", "labels", "a/b~c", "0"]


def test_a_name_that_looks_escaped_comes_back_as_it_was() -> None:
    assert names_of(pointer("~1")) == ["~1"]


def test_the_document_itself_stays_as_it_was() -> None:
    given = {"a": {"b": [1]}, "c": {}}
    made = apply(given, [Operation("add", "/a/b/-", 2), Operation("remove", "/c")])
    assert made == {"a": {"b": [1, 2]}}
    assert given == {"a": {"b": [1]}, "c": {}}


def test_what_two_places_share_changes_in_one_of_them_only() -> None:
    shared = {"app": "web"}
    made = apply({"one": shared, "two": shared}, [Operation("add", "/one/x", "y")])
    assert made == {"one": {"app": "web", "x": "y"}, "two": {"app": "web"}}


def test_items_are_put_in_before_the_one_at_their_index() -> None:
    assert apply([1, 2], [Operation("add", "/0", 0), Operation("remove", "/2")]) == [0, 1]


def test_there_is_no_way_through_a_text() -> None:
    with pytest.raises(TypeError, match="/a/b/c"):
        apply({"a": {"b": "text"}}, [Operation("add", "/a/b/c", 1)])


def test_a_removal_has_no_value_as_json() -> None:
    assert Operation("remove", "/a").as_json() == {"op": "remove", "path": "/a"}
    assert Operation("add", "/a").as_json() == {"op": "add", "path": "/a", "value": None}


def test_parents_that_are_missing_are_made_before_what_is_in_them() -> None:
    bare = {"spec": {"containers": [{"name": "app"}]}}
    made = [(each.op, each.path) for each in planned(bare).patch]
    assert made == [
        ("add", "/metadata"),
        ("add", "/metadata/labels"),
        ("add", "/metadata/annotations"),
        ("add", "/spec/initContainers"),
        ("add", "/spec/volumes"),
        ("add", "/metadata/labels/remora.dev~1injected"),
        ("add", "/metadata/annotations/kubectl.kubernetes.io~1default-container"),
        ("add", "/metadata/annotations/remora.dev~1status"),
        ("add", "/spec/initContainers/0"),
        ("add", "/spec/initContainers/1"),
        ("add", "/spec/volumes/-"),
        ("add", "/spec/volumes/-"),
    ]


def test_what_is_there_is_not_made_again() -> None:
    given = pod(initContainers=[{"name": "first"}], volumes=[{"name": "data"}])
    given["metadata"]["labels"] = {"app": "web"}
    paths = [each.path for each in planned(given).patch]
    assert "/metadata/labels" not in paths
    assert "/spec/initContainers" not in paths


def test_a_patched_pod_gets_no_second_patch() -> None:
    given = pod()
    again = planned(apply(given, planned(given).patch))
    assert again.patch == ()
    assert again.reason
    assert again.reason.word == "already"
