"""Limits: so often within a minute, counted in the owner's Redis; without it nobody is limited."""

import secrets
from dataclasses import dataclass
from time import time
from typing import Final

from tracelab.services.kit.cache import Cache

WRITES_PER_MIN: Final = 60  # of one person, in one service
_WINDOW_MS: Final = 60_000
# A log per key of the last minute's times, so that no minute, wherever it begins, sees more than the limit.
# Either every key has room and counts this one, or none does, and the longest wait is returned, in milliseconds.
_TAKE: Final = """
local now, window, mark = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local wait = 0
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  if redis.call('ZCARD', key) >= tonumber(ARGV[3 + i]) then
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    wait = math.max(wait, oldest[2] + window - now, 1)
  end
end
if wait == 0 then
  for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, now, mark)
    redis.call('PEXPIRE', key, window)
  end
end
return math.ceil(wait)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What somebody (`id`) may do of one kind (`scope`) within any minute."""

    scope: str
    id: str
    limit: int


class Limits:
    """Counts what was done, in the Redis of one service."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def wait_s(self, *quotas: Quota) -> int:
        """Count one more and return 0; or, where a quota is used up, count nothing and return how long to wait."""
        keys = [f"ratelimit:{quota.scope}:{quota.id}" for quota in quotas]
        limits = [quota.limit for quota in quotas]
        mark = secrets.token_hex(8)
        wait_ms = await self._cache.run(_TAKE, keys, [int(time() * 1000), _WINDOW_MS, mark, *limits])
        return -(-int(wait_ms or 0) // 1000)
