"""Stores in an object store that is away at a start: prepared and claimed later, waited for where nobody knows them."""

from __future__ import annotations

import threading

import pytest

from market.errors import Conflict, StoreRefused
from runtime import places
from runtime.places import Places
from runtime.servers import Servers
from runtime.settings import Settings, load_settings
from storage.database.data_folder import read_folder_id
from tests.s3_server import FaultProxy, new_object_place
from tests.waiting import eventually

DEADLINE_S = 30.0


@pytest.fixture
def settings(s3: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Settings:  # must be there
    monkeypatch.setattr(places, "RETRY_S", 0.01)
    return load_settings({"RAW_DATA_STORAGE_PATH": str(new_object_place())}, env_file=None)


@pytest.fixture
def servers(fresh_url: str) -> Servers:
    return Servers({}, fresh_url)


def test_a_folder_that_the_database_knows_is_prepared_and_claimed_once_the_store_is_back(
    settings: Settings, servers: Servers, s3: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    first = Places(settings, servers, claims=True)
    first.begin()
    assert first.is_prepared
    s3.go_away_after(0, "GET")
    done: list[bool] = []
    again = Places(settings, servers, claims=True, then=lambda: done.append(again.is_prepared))
    again.begin()
    assert not again.is_prepared
    preparing = threading.Thread(target=again.run, daemon=True)
    preparing.start()
    s3.come_back()
    preparing.join(DEADLINE_S)
    assert done == [True]
    assert [each.split(",")[0].split(" after")[0] for each in caplog.messages] == [
        "an object store is down",
        "an object store is back",
    ]


def test_a_folder_that_the_database_does_not_know_is_waited_for(
    settings: Settings, servers: Servers, s3: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    s3.go_away_after(0, "GET")
    begun = Places(settings, servers, claims=True)
    beginning = threading.Thread(target=begun.begin, daemon=True)
    beginning.start()
    eventually(lambda: "does not know" in caplog.text, deadline_s=DEADLINE_S)
    assert not begun.is_prepared
    s3.come_back()
    beginning.join(DEADLINE_S)
    assert begun.is_prepared
    assert caplog.text.count("does not know") == 1
    assert read_folder_id(settings.raw_data_storage_path) is not None


def test_a_folder_of_another_database_and_a_refusal_end_the_start(
    settings: Settings, servers: Servers, s3: FaultProxy
) -> None:
    Places(settings, servers, claims=True).begin()
    other = settings.model_copy(update={"raw_data_storage_path": new_object_place()})
    with pytest.raises(Conflict, match="must be the one that the database belongs to"):
        Places(other, servers, claims=True).begin()
    s3.refusal = (403, "InvalidAccessKeyId", "As it is told.", "")
    with pytest.raises(StoreRefused, match="set AWS_ACCESS_KEY_ID"):
        Places(settings, servers, claims=True).begin()
