"""A store that refuses: one error with the key, the rule, what was answered and the next step, and no credentials."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from market.errors import InvalidSettings, StoreUnavailable
from runtime.doctor import _object_stores
from runtime.settings import load_settings
from runtime.stores import open_stores
from storage.durable_files import remove_files, replace_file
from storage.objects.bucket import Bucket, Patience, bucket
from storage.objects.path import ObjectPath, object_path
from storage.objects.unnamed import remove_unnamed
from tests.ports import free_port
from tests.s3_server import BUCKET, CREDENTIALS, FaultProxy, new_object_place

REFUSALS = {
    "a key that it does not know": (403, "InvalidAccessKeyId", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    "a wrong secret": (403, "SignatureDoesNotMatch", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    "a session that is over": (400, "ExpiredToken", "renew AWS_SESSION_TOKEN"),
    "a role without the right": (403, "AccessDenied", "allow this key or role to read, write and delete"),
    "a clock that is wrong": (403, "RequestTimeTooSkewed", "synchronise this machine's clock with NTP"),
    "a region that is wrong": (400, "AuthorizationHeaderMalformed", "set AWS_REGION to the bucket's region"),
    "a bucket that is gone": (404, "NoSuchBucket", "make the bucket, or correct its name in the address"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_is_told_at_once_with_its_reason_and_the_next_step_and_without_credentials(
    s3: FaultProxy, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    status, code, step = REFUSALS[why]
    place = new_object_place()
    replace_file(place / "day" / "file", lambda file: file.write(b"kept"))
    waits: list[float] = []
    refused = Bucket(BUCKET, Patience(sleep=waits.append))
    caplog.set_level(logging.DEBUG)
    s3.refusal = (status, code, "As it is told.", "")
    key = f"{place.key}/day/file"
    told = {}
    requests: dict[str, Callable[[], object]] = {
        "read": lambda: refused.get(key),
        "written": lambda: refused.swap(key, b"", None),
        "deleted": lambda: refused.delete(key),
        "listed": lambda: refused.listed(key, lambda _key: True),
    }
    for done, ask in requests.items():
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        told[done] = str(caught.value)
    s3.refusal = None
    for done, text in told.items():
        assert text.startswith(
            f"s3://{BUCKET}/{key}: must be {done}, was refused: {status} {code}, As it is told; {step}"
        )
    assert waits == []
    shown = "\n".join((*told.values(), caplog.text))
    assert [CREDENTIALS[name] in shown for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")] == [False] * 2
    assert (place / "day" / "file").read_bytes() == b"kept"


def test_a_start_names_the_bucket_that_is_not_there_and_an_endpoint_that_is_no_address(
    s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(
        {"FEATURE_SERVICE_DATA_PATH": str(tmp_path), "FEATURE_LOG_STORAGE_PATH": f"s3://not-there-{uuid4().hex}/log"},
        env_file=None,
    )
    with pytest.raises(StoreUnavailable, match=r"404 NoSuchBucket, .*; make the bucket, or correct its name"):
        open_stores(settings)
    [found] = _object_stores(settings)
    assert (found.verdict, "make the bucket" in found.seen) == ("wrong", True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(InvalidSettings, match="AWS_ENDPOINT_URL: must be http://HOST:PORT or https://HOST:PORT"):
        open_stores(settings)
    [found] = _object_stores(settings)
    assert "AWS_ENDPOINT_URL" in found.seen


def test_an_endpoint_that_is_down_is_told_after_a_bounded_number_of_attempts(
    s3: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    waits: list[float] = []
    with pytest.raises(
        StoreUnavailable, match=r"no answer in 9 attempts: .*; check that the store is up, and that AWS"
    ):
        Bucket(BUCKET, Patience(sleep=waits.append)).get("key")
    assert len(waits) == 8
    assert sum(waits) < 20


def test_a_role_that_may_not_delete_is_told_at_the_start_and_later_loses_nothing(
    s3: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    place = new_object_place()
    replace_file(place / "file", lambda file: file.write(b"first"))
    s3.refusal = (403, "AccessDenied", "Access Denied", "POST ")
    with pytest.raises(StoreUnavailable, match="must be deleted, was refused: 403 AccessDenied"):
        object_path(f"s3://{BUCKET}/{uuid4().hex}").prepare()
    # One that had the right when it began names files all the same, and says what stays.
    replace_file(place / "file", lambda file: file.write(b"second"))
    assert (place / "file").read_bytes() == b"second"
    assert "is in no folder and could not be deleted, so it stays" in caplog.text
    remove_files([place / "file"])
    assert not (place / "file").exists()
    s3.refusal = None
    assert remove_unnamed(place, older_than_s=0.0) == (2, len(b"firstsecond"))


def test_a_bucket_that_is_gone_is_no_empty_store(s3: FaultProxy) -> None:
    place = ObjectPath(f"s3://not-there-{uuid4().hex}/log")
    for ask in (place.names, place.exists, lambda: list(place.iterdir()), lambda: bucket(place.parts[1]).delete("key")):
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            ask()
