"""Ringing for builds without piling up messages: one for each claim of a build in a few seconds. And ticks that may be
long: one of a kind at a time, so that they leave other workers free, and each with a bounded part, in turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

# A message that was lost is missed for so long.
RING_AGAIN_SECONDS = 5
KEY_PREFIX = "recall:rung:"
TICK_PREFIX = "recall:tick:"
TURN_PREFIX = "recall:turn:"

KeyT = TypeVar("KeyT", int, str)


def may_ring(build_id: int, fence: int) -> bool:
    """Whether nobody has rung for this build, at this fence, lately. Raises redis.RedisError."""
    key = f"{KEY_PREFIX}{build_id}:{fence}"
    return bool(_client(settings.REDIS_URL).set(key, 1, nx=True, ex=RING_AGAIN_SECONDS))


def may_ring_for_draft(draft_id: int, question: int) -> bool:
    """The same for a draft's question. Raises redis.RedisError."""
    key = f"{KEY_PREFIX}draft:{draft_id}:{question}"
    return bool(_client(settings.REDIS_URL).set(key, 1, nx=True, ex=RING_AGAIN_SECONDS))


def may_ring_for_comparison(comparison_id: int, takes: int) -> bool:
    """The same for a comparison of two versions. Raises redis.RedisError."""
    key = f"{KEY_PREFIX}comparison:{comparison_id}:{takes}"
    return bool(_client(settings.REDIS_URL).set(key, 1, nx=True, ex=RING_AGAIN_SECONDS))


@contextmanager
def alone(tick: str, *, seconds_max: int) -> Iterator[bool]:
    """Whether no other worker is in this tick; one that died in it is forgotten after `seconds_max`.

    Only saves work: what must not happen twice is guarded by rows. Raises redis.RedisError.
    """
    key = f"{TICK_PREFIX}{tick}"
    mine = bool(_client(settings.REDIS_URL).set(key, 1, nx=True, ex=seconds_max))
    try:
        yield mine
    finally:
        if mine:
            _client(settings.REDIS_URL).delete(key)


def in_turn(tick: str, work: Mapping[KeyT, int], *, most: int) -> list[KeyT]:
    """Those keys of `work` whose turn it is: as many as make `most` of it together, and one at least.

    `work` says how much there is for each key. They come in order, and the next time those come first that were left
    out now, so that each has its turn. A turn that Redis has forgotten begins with the first. Raises redis.RedisError.
    """
    ordered: list[KeyT] = sorted(work)
    if sum(work.values()) <= most:
        return ordered
    key = f"{TURN_PREFIX}{tick}"
    raw: Any = _client(settings.REDIS_URL).get(key)
    last: Any = json.loads(raw or b"null")
    passed: list[KeyT] = [each for each in ordered if last is not None and each <= last]
    chosen: list[KeyT] = []
    in_turn_now: list[KeyT] = ordered[len(passed) :] + passed
    for each in in_turn_now:
        most -= work[each]
        if chosen and most < 0:
            break
        chosen.append(each)
    _client(settings.REDIS_URL).set(key, json.dumps(chosen[-1]))
    return chosen


@cache
def _client(url: str) -> redis.Redis:
    seconds = settings.REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 1)
    )
