"""The scripts by which Redis stores rows: each changes one hash atomically, regardless of other writers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final


class Script:
    """A script and the name that a server knows it by."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# ARGV: the row's order, the writer's fence or nothing, the packed vector, which is published for those who follow the
# symbol, Feast's fields (``storage.online.feast_fields``), and the fields to remove, which another set had and the
# row's has not. Lua's numbers are doubles and would round nanoseconds, hence the comparison of text; HSET is called in
# parts because unpack() stops at about 8000 values.
WRITE: Final = Script("""
local held = redis.call('HMGET', KEYS[1], 'feature_service:newest', 'feature_service:fence')
if ARGV[2] ~= '' then
  if held[2] and held[2] > ARGV[2] then return -1 end
  if held[2] ~= ARGV[2] then redis.call('HSET', KEYS[1], 'feature_service:fence', ARGV[2]) end
end
if held[1] and held[1] > ARGV[1] then return 0 end
local fields = cmsgpack.unpack(ARGV[4])
for first = 1, #fields, 1000 do
  redis.call('HSET', KEYS[1], unpack(fields, first, math.min(first + 999, #fields)))
end
redis.call('HSET', KEYS[1], 'feature_service:newest', ARGV[1], 'feature_service:vector', ARGV[3])
for first = 5, #ARGV, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('PUBLISH', 'feature_service:rows:' .. KEYS[1], ARGV[3])
return 1
""")
FENCED: Final = -1

# ARGV: the writer's fence or nothing, the field of the version, and the packed vector.
WRITE_SHADOW: Final = Script("""
local held = redis.call('HGET', KEYS[1], 'feature_service:fence')
if ARGV[1] ~= '' and held and held > ARGV[1] then return -1 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
""")

# ARGV: a field to remove.
DROP_FIELD: Final = Script("return redis.call('HDEL', KEYS[1], ARGV[1])")


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of the rows of one ``write``: stored, older than what was stored, or too far in the future.

    fenced: symbols that a writer with a higher fence has written.
    """

    written: int
    superseded: int
    refused: int
    fenced: tuple[str, ...] = ()
