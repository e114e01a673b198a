"""Answers worked out from the contract by loops and dictionaries, in float64, without any of the code under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from replicas.queries import ItemQuery, MergePolicy
from tests.support.artifacts import MadeArtifact

Float64 = NDArray[np.float64]


class Expected(NamedTuple):
    """An answer, best first."""

    ids: list[Any]
    scores: list[float]
    found_by: list[int]


def stored(made: MadeArtifact) -> Float64:
    """The vectors as the version holds them, in its order of rows."""
    vectors = made.vectors.astype(np.float64)
    if is_normalised(made):
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    return vectors


def is_normalised(made: MadeArtifact) -> bool:
    return bool(made.manifest["metric"] == "cosine" or made.manifest["schema"]["normalize"])


def ranked(made: MadeArtifact, query: Float64, top_k: int, left_out: Sequence[Any]) -> dict[Any, float]:
    """The best `top_k` searchable items that are not left out: id -> score, best first."""
    asked = query / np.linalg.norm(query) if is_normalised(made) else query
    far = made.manifest["metric"] == "l2"
    scores: dict[Any, float] = {}
    for row, vector in enumerate(stored(made)[: made.manifest["searchable_items"]]):
        if made.ids[row] not in left_out:
            scores[made.ids[row]] = float(((vector - asked) ** 2).sum() if far else vector @ asked)
    best = sorted(scores, key=lambda each: scores[each] if far else -scores[each])[:top_k]
    return {each: scores[each] for each in best}


def merged(
    lists: Sequence[Mapping[Any, float]], weights: Sequence[float], policy: MergePolicy, top_k: int, *, far: bool
) -> Expected:
    """Several ranked lists as one; `far`: the smallest score is the best."""
    if policy is MergePolicy.ROUND_ROBIN:
        return _in_turns(lists, weights, top_k)
    sign = 1 if far else -1
    farthest = [weight * max(one.values(), default=0.0) for one, weight in zip(lists, weights, strict=True)]
    lacking = farthest if far else [0.0] * len(lists)
    values: dict[Any, float] = {}
    speaks: dict[Any, int] = {}
    for each in {found for one in lists for found in one}:
        holding = [(number, one[each], weights[number]) for number, one in enumerate(lists) if each in one]
        if policy is MergePolicy.MAX:
            given = [(score / weight if far else score * weight, number) for number, score, weight in holding]
            values[each], speaks[each] = min(given, key=lambda pair: (sign * pair[0], pair[1]))
        else:
            gains = [(weight * score - lacking[number], number) for number, score, weight in holding]
            values[each] = sum(lacking) + sum(gain for gain, _ in gains)
            speaks[each] = min(gains, key=lambda pair: (sign * pair[0], pair[1]))[1]
    best = sorted(values, key=lambda each: sign * values[each])[:top_k]
    return Expected(best, [values[each] for each in best], [speaks[each] for each in best])


def _in_turns(lists: Sequence[Mapping[Any, float]], weights: Sequence[float], top_k: int) -> Expected:
    turns = [0] * len(lists)
    taken: dict[Any, int] = {}
    while len(taken) < top_k:
        able = [i for i, one in enumerate(lists) if set(one) - set(taken)]
        if not able:
            break
        turn = min(able, key=lambda i: ((turns[i] + 1) / weights[i], i))
        turns[turn] += 1
        taken[next(each for each in lists[turn] if each not in taken)] = turn
    return Expected(list(taken), [lists[i][each] for each, i in taken.items()], list(taken.values()))


class Mean(NamedTuple):
    """A query by items as one vector. `rest` is what of the vectors (or weights) did not cancel out, 0 to 1."""

    vector: Float64
    covered: float
    rest: float


def item_mean(made: MadeArtifact, asked: ItemQuery) -> Mean | None:
    """None when the version holds none of the items."""
    vectors = dict(zip(made.ids, stored(made), strict=True))
    stamps = [item.timestamp_seconds for item in asked.items if item.timestamp_seconds is not None]
    total, absolute, plain, everything, lengths = np.zeros(made.vectors.shape[1]), 0.0, 0.0, 0.0, 0.0
    for item in asked.items:
        weight = item.weight
        if asked.half_life_seconds and item.timestamp_seconds is not None:
            weight *= 0.5 ** ((max(stamps) - item.timestamp_seconds) / asked.half_life_seconds)
        everything += abs(weight)
        if item.key in vectors:
            total += weight * vectors[item.key]
            absolute, plain = absolute + abs(weight), plain + weight
            lengths += abs(weight) * float(np.linalg.norm(vectors[item.key]))
    if not any(item.key in vectors for item in asked.items):
        return None
    covered = absolute / everything if everything else 0.0
    if made.manifest["metric"] == "l2" and not is_normalised(made):
        return Mean(total / plain if plain else total, covered, max(0.0, plain) / absolute if absolute else 0.0)
    rest = float(np.linalg.norm(total)) / lengths if lengths else 0.0
    return Mean(total / absolute if absolute else total, covered, rest)
