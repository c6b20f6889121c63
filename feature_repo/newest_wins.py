"""The script by which Redis stores rows of Feast's views: what is newer is compared and written in one step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

# ARGV: seconds that the key is kept, or nothing; then of each view the field of its row time, the row time, the field
# of its creation time, the creation time or nothing, the count of the rest, and fields and values. A time is a protobuf
# of Feast's: two varints, each after its tag. A creation time is written behind the row time that it is of, so that one
# which Feast's own store left behind is known. HSET is called in parts because unpack() stops at about 8000 values.
_WRITE: Final = """
local function moment(text)
  local parts = {0, 0}
  local at = 1
  while text and at <= #text do
    local part = text:byte(at) == 8 and 1 or 2
    local value, scale = 0, 1
    repeat
      at = at + 1
      local byte = text:byte(at)
      value = value + (byte % 128) * scale
      scale = scale * 128
    until byte < 128
    parts[part] = value >= 2 ^ 63 and value - 2 ^ 64 or value
    at = at + 1
  end
  return parts
end
local function compared(left, right)
  local a, b = moment(left), moment(right)
  if a[1] ~= b[1] then return a[1] < b[1] and -1 or 1 end
  if a[2] ~= b[2] then return a[2] < b[2] and -1 or 1 end
  return 0
end
local stored = 0
local at = 2
while at <= #ARGV do
  local time_field, time, created_field, created, count = unpack(ARGV, at, at + 4)
  local first = at + 5
  at = first + tonumber(count)
  local held = redis.call('HMGET', KEYS[1], time_field, created_field)
  local order = held[1] and compared(time, held[1]) or 1
  if order == 0 and created ~= '' and held[2] and held[2]:sub(1, #held[1]) == held[1] then
    order = compared(created, held[2]:sub(#held[1] + 1))
  end
  if order >= 0 then
    redis.call('HSET', KEYS[1], time_field, time)
    if created == '' then
      redis.call('HDEL', KEYS[1], created_field)
    else
      redis.call('HSET', KEYS[1], created_field, time .. created)
    end
    for from = first, at - 1, 1000 do
      redis.call('HSET', KEYS[1], unpack(ARGV, from, math.min(from + 999, at - 1)))
    end
    stored = stored + 1
  end
end
if ARGV[1] ~= '' and stored > 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return stored
"""
_WRITE_SHA: Final = hashlib.sha1(_WRITE.encode(), usedforsecurity=False).hexdigest()


def run(client: Any, calls: Sequence[tuple[bytes | str, ...]]) -> Iterator[int]:  # noqa: ANN401  # Feast's client
    """Run the script with each key and its arguments, in one round trip; yields how many rows each call stored."""
    waiting = list(calls)
    for may_be_unknown in (True, False):
        with client.pipeline(transaction=False) as pipeline:
            for call in waiting:
                # Not evalsha(), which the pipeline of a cluster refuses: a script of one key goes where its key is.
                pipeline.execute_command("EVALSHA", _WRITE_SHA, 1, *call)
            answers = pipeline.execute(raise_on_error=False)
        unknown = []
        for call, answer in zip(waiting, answers, strict=True):
            # A server forgets its scripts when it restarts or fails over.
            if may_be_unknown and type(answer).__name__ == "NoScriptError":
                unknown.append(call)
            elif isinstance(answer, Exception):
                raise answer
            else:
                yield int(answer)
        if not unknown:
            return
        client.script_load(_WRITE)
        waiting = unknown
