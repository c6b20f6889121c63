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


def test_servers_that_do_not_answer_are_named_each(tmp_path: Path) -> None:
    nobody = str(free_port())
    settings = load_settings(
        {
            "FEATURE_SERVICE_DATA_PATH": str(tmp_path),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": nobody,
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": nobody,
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": nobody,
        },
        env_file=None,
    )
    found = {each.subject: each for each in examine(lambda: settings)}
    assert {name: found[name].verdict for name in ("clock", "Redis", "PostgreSQL", "RabbitMQ")} == {
        "clock": "ok",
        "Redis": "wrong",
        "PostgreSQL": "wrong",
        "RabbitMQ": "wrong",
    }
    assert all(found[name].remedy for name in ("Redis", "PostgreSQL", "RabbitMQ"))
