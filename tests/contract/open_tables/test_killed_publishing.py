"""Publishing into an object store by processes that are killed: the table is whole at any time, nothing twice."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import pytest
from sqlalchemy import make_url

from market.clock import DAY_NS, SECOND_NS
from runtime.settings import object_store_properties
from storage.iceberg.catalog import open_catalog
from storage.objects.path import ObjectPath
from storage.objects.unnamed import remove_unnamed
from tests.forked import forked
from tests.killed_senders import KilledSenders, Moment
from tests.published_tables import Published, addresses, expected, publish
from tests.s3_server import KILLS, FaultProxy, new_object_place
from tests.tcp_proxy import TcpProxy

_PUBLISHED: Final = r"[^ ]*/iceberg/price_aaaa/metadata/"
STEPS: Final = {
    "object kept or let go": r"PUT [^ ]*/date=[^/]*/_names.json$",
    "manifest written": rf"(PUT|POST) {_PUBLISHED}[^/]*-m\d+.avro",
    "list of manifests written": rf"(PUT|POST) {_PUBLISHED}snap-[^/]*.avro",
    "metadata written": rf"(PUT|POST) {_PUBLISHED}[^/]*.metadata.json",
    "metadata read": rf"GET {_PUBLISHED}[^/]*.metadata.json",
    "table swapped in the catalogue": "SQL .*(UPDATE|INSERT INTO) iceberg_tables",
    "swap committed": "SQL .*COMMIT",
    "expired object deleted": r"(POST|DELETE) (?!.*upload)",
}
"""What a publishing asks of the store and of the catalogue, in order."""


@dataclass
class Killed:
    """A store of which publishing is killed. url: of the catalogue, by the proxy that kills."""

    published: Published
    name: str
    url: str
    kills: KilledSenders

    def run(self, plan: Callable[[Callable[[], None]], None], *, keep_ns: int = 7 * DAY_NS) -> bool:
        """A publishing; plan: is given what kills it. Whether it came to its end."""
        place = self.published.place
        process = forked(publish, str(place), self.name, self.url, keep_ns)
        plan(process.kill)
        process.join()
        was_killed = self.kills.spare()
        assert process.exitcode == (-9 if was_killed else 0)
        if was_killed:
            # Known to be dead, its lease need not be waited for.
            lock = self.published.log.folder / ".publishing"
            assert isinstance(lock, ObjectPath)
            lock.bucket.delete(lock.key)
        return not was_killed


@pytest.fixture
def killed(s3: FaultProxy, database: str) -> Iterator[Killed]:
    place, name, kills = new_object_place(), f"c{uuid.uuid4().hex}", KilledSenders(seed=29)
    address = make_url(database)
    assert address.host is not None
    with (
        closing(TcpProxy((address.host, address.port or 5432), kills)) as proxy,
        open_catalog(name, database, object_store_properties()) as catalog,
    ):
        url = address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        s3.kills = kills
        yield Killed(Published(place, catalog), name, url, kills)


@pytest.mark.parametrize(
    ("step", "moment"), [("metadata written", "after"), ("swap committed", "before"), ("swap committed", "after")]
)
def test_a_publishing_that_is_killed_at_its_commit_is_completed_by_the_next(
    killed: Killed, step: str, moment: Moment
) -> None:
    published = killed.published
    published.rebuild(0, 3, 1.0, "aa")
    published.publish()
    published.rebuild(0, 3, 2.0, "bb")
    states = [expected(0, 3, value, SECOND_NS) for value in (1.0, 2.0)]
    is_committed = (step, moment) == ("swap committed", "after")
    assert not killed.run(lambda kill: killed.kills.plan(step, STEPS[step], moment, kill))
    assert published.rows() in (states if is_committed else states[:1])  # acknowledged to nobody, it may still come
    published.publish()
    assert published.rows() == states[1]
    assert len(published.table().metadata.snapshots) == 2


@pytest.mark.soak
def test_publishings_that_are_killed_at_any_step_leave_a_whole_table_and_are_completed_by_the_next(
    killed: Killed,
) -> None:
    published, kills = killed.published, killed.kills
    published.rebuild(0, 3, 0.0, "00")
    published.publish()
    before, number = expected(0, 3, 0.0, SECOND_NS), 0
    while kills.total < KILLS:
        number += 1
        keep_ns = -9 * DAY_NS if number % 2 else 7 * DAY_NS  # expires all but the current one, or none
        published.rebuild(0, 3, float(number), f"{number:08x}")
        published.write(10 + number, 1, 0.5)
        after = expected(0, 3, float(number), SECOND_NS)
        after += [row for each in range(1, number + 1) for row in expected(10 + each, 1, 0.5)]
        while not killed.run(lambda kill: kills.draw(STEPS, kill, most=2), keep_ns=keep_ns):
            assert published.rows() in (before, after)
        kills.settle()
        assert published.rows() == after
        before = after
    published.expire()
    published.expire()
    assert published.rows() == before
    assert len(published.table().metadata.snapshots) == 1
    # Every object is that of a file or of the snapshot, once the ones that nobody named are removed.
    log = published.log.folder
    assert isinstance(log, ObjectPath)
    remove_unnamed(log, older_than_s=0.0)
    parts = {each.key for each in log.bucket.listed(log.key, lambda key: "/symbol=" in key and "_names" not in key)}
    assert {f"s3://{log.bucket.name}/{key}" for key in parts} == addresses(published, None)
    print(f"{number} publishings completed\n{kills.table()}")
