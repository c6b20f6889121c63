"""The doctor: every problem with what to do about it, and nothing that was not looked at counts as well."""

from __future__ import annotations

from pathlib import Path

from market.errors import InvalidSettings
from runtime.doctor import examine
from runtime.settings import Settings, load_settings
from tests.ports import free_port


def test_wrong_settings_are_all_told_and_nothing_after_them_is_looked_at() -> None:
    def fail() -> Settings:
        raise InvalidSettings("settings", ["REDIS_PORT: must be 1 to 65535, was 0", "POSTGRES_PORT: must be a number"])

    wrong = [each for each in examine(fail) if each.verdict == "wrong"]
    assert [each.seen[:10] for each in wrong] == ["REDIS_PORT", "POSTGRES_P"]
    assert all(each.remedy for each in wrong)
    assert not {"clock", "disk", "Redis"} & {each.subject for each in examine(fail)}


def test_servers_that_do_not_answer_and_a_folder_that_cannot_be_written_are_named_each(tmp_path: Path) -> None:
    nobody = str(free_port())
    (tmp_path / "file").touch()
    settings = load_settings(
        {
            "FEATURE_SERVICE_DATA_PATH": str(tmp_path),
            "FEATURE_LOG_STORAGE_PATH": str(tmp_path / "file" / "features"),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": nobody,
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": nobody,
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": nobody,
        },
        env_file=None,
    )
    findings = list(examine(lambda: settings))
    found = {each.subject: each for each in findings}
    assert {name: found[name].verdict for name in ("clock", "Redis", "PostgreSQL", "RabbitMQ")} == {
        "clock": "ok",
        "Redis": "wrong",
        "PostgreSQL": "wrong",
        "RabbitMQ": "wrong",
    }
    assert all(found[name].remedy for name in ("Redis", "PostgreSQL", "RabbitMQ"))
    unwritable = [each for each in findings if each.subject == "disk" and each.verdict == "wrong"]
    assert [each.seen for each in unwritable] == [f"{tmp_path}/file/features: cannot be written: Not a directory"]
