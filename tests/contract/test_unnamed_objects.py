"""Objects that no folder names: found by listing, removed once they are old, and kept where they are still wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from market.errors import StoreUnavailable
from storage.durable_files import remove_files, replace_file
from storage.objects.files import keep_objects, let_go_object, publish_objects, publish_tree
from storage.objects.lease import leased
from storage.objects.names import NAMES
from storage.objects.path import ObjectPath
from storage.objects.unnamed import remove_unnamed, remove_unnamed_below, unnamed_objects
from tests.s3_server import FaultProxy, new_object_place


def write(path: ObjectPath, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))


def test_what_dead_writers_left_is_found_and_removed_and_nothing_else(s3: FaultProxy, tmp_path: Path) -> None:
    place = new_object_place()
    for name in ("day=1/a.parquet", "day=2/b", "c.json"):
        replace_file(place / name, lambda file: file.write(b"named"))
    replace_file(place / "day=1/a.parquet", lambda file: file.write(b"again"))
    (place / "c.json").rename(place / "d.json")
    with leased(place / "day=1" / ".lock"):
        pass
    local = tmp_path / "upload"
    local.write_bytes(b"12345")
    kept = {path.name: path.read_bytes() for path in place.rglob("*")}
    # Writers that died: while they uploaded, before a folder was there, and with a probe.
    s3.go_away_after(1, "PUT")
    with pytest.raises(StoreUnavailable):
        publish_objects({place / "day=1" / "e.parquet": local})
    s3.come_back()
    for key in ("day=3/x/f.0123456789abcdef.parquet", "g.0123456789abcdef", "_names.json.0123456789abcdef"):
        place.bucket.put(f"{place.key}/{key}", b"12345")
    place.bucket.put(f"{place.key}/of-another-program.json", b"stays")
    found = list(unnamed_objects(place))
    assert [each.size for each in found] == [5] * 4
    assert max(each.age_s for each in found) < 600
    assert remove_unnamed(place) == (0, 0)
    assert remove_unnamed(place, older_than_s=0.0) == (4, 20)
    assert list(unnamed_objects(place)) == []
    assert {path.name: path.read_bytes() for path in place.rglob("*")} == kept
    assert place.bucket.get(f"{place.key}/of-another-program.json")[0] == b"stays"
    with leased(place / "day=1" / ".lock"):
        pass


def test_a_kept_object_that_no_folder_names_any_more_stays_until_it_is_let_go(s3: FaultProxy) -> None:  # must be there
    place = new_object_place()
    for name in ("a", "b"):
        write(place / "day" / name, name)
    key = named_key(place / "day" / "a")
    keep_objects([place / "day" / "a"])
    write(place / "day" / "a", "replaced")
    again = named_key(place / "day" / "a")
    keep_objects([place / "day" / "a"])
    remove_files([place / "day" / "a"])
    write(place / "day" / "c", "another change of the folder")
    assert remove_unnamed(place, older_than_s=0.0) == (0, 0)
    assert [place.bucket.get(each)[0] for each in (key, again)] == [b"a", b"replaced"]
    let_go_object(place / "day", key)
    let_go_object(place / "day", key)
    with pytest.raises(FileNotFoundError):
        place.bucket.get(key)
    assert place.bucket.get(again)[0] == b"replaced"
    # As one that is let go and dies before it deletes: nothing keeps the object any more.
    s3.fail("refuse", "DELETE", times=place.bucket.patience.attempts)
    s3.fail("refuse", "POST", times=place.bucket.patience.attempts)
    with pytest.raises(StoreUnavailable):
        let_go_object(place / "day", again)
    s3.heal()
    assert remove_unnamed(place, older_than_s=0.0) == (1, len("replaced"))


def named_key(path: ObjectPath) -> str:
    named = path.named()
    assert named is not None
    return named.key


def test_an_upload_is_not_named_once_it_may_have_been_removed(s3: FaultProxy, tmp_path: Path) -> None:  # must be there
    place = new_object_place()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").write_bytes(b"1")
    with pytest.raises(StoreUnavailable, match="must be named within 0 s"):
        publish_objects({place / "a": tmp_path / "set" / "a"}, within_s=0.0)
    with pytest.raises(StoreUnavailable, match="must be named within 0 s"):
        publish_tree(place / "set", tmp_path / "set", within_s=0.0)
    assert list(place.rglob("*")) == []


def test_objects_of_a_folder_whose_names_are_damaged_stay_and_a_store_that_is_away_is_told(s3: FaultProxy) -> None:
    place = new_object_place()
    for name in ("one/a", "two/b"):
        replace_file(place / name, lambda file: file.write(b"12345"))
    place.bucket.put(f"{place.key}/one/{NAMES}", b"{")
    place.bucket.put(f"{place.key}/two/x.0123456789abcdef", b"12345")
    assert [each.key for each in unnamed_objects(place)] == [f"{place.key}/two/x.0123456789abcdef"]
    assert remove_unnamed_below([place]) == (0, 0, [])
    assert list(unnamed_objects(place / "nobody-made-it")) == []
    s3.go_away_after(0, "GET")
    [told] = remove_unnamed_below([place])[2]
    assert told.startswith(f"unnamed objects below {place}: could not be removed: ")
