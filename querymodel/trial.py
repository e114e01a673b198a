"""Tries a query model before a version gets it: what it is fed with, what it gives, how long it takes.

What cannot serve is refused here, so that it fails a build and never a request. Time is that of the computing thread
and not of the clock, so that a busy machine refuses no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querymodel.alike import alike
from querymodel.errors import ModelFailed, ModelRefused, ModelTooSlow, QueryModelError
from querymodel.model import QueryModel
from querymodel.spec import Feature, Features, ModelInput, Value
from querymodel.vocabulary import Vocabulary

TIMED_QUERIES_MAX = 50
TIMED_SECONDS_MAX = 2.0
# Queries that are computed once more, alone and together.
COMPARED_QUERIES = 16
BATCH_MAX = 64
# A run of a batch shall take no longer than this, so that one model's batch delays nobody much.
BATCH_MS_MAX = 20.0
MS_PER_SECOND = 1_000

Floats = NDArray[np.float32]
Outcome = Floats | QueryModelError | None


@dataclass(frozen=True)
class Trial:
    """`ms`: what one query takes alone, the median. `batch_max`: queries that may be computed in one run.

    `good` are the recorded queries that the model has vectors for, `vectors` [good, m, d] those vectors.
    """

    ms: float
    batch_max: int
    good: list[Features]
    vectors: Floats
    warnings: tuple[str, ...]


def try_out(
    model: QueryModel, recorded: Sequence[Features], *, ms_max: float, progress: Callable[[int, int], None]
) -> Trial:
    """Has the model compute `recorded` features, or made-up ones when there are none.

    Raises ModelRefused: drop.model_shape, drop.model_not_finite, drop.model_unsteady, drop.model_too_slow.
    """
    samples = list(recorded) or [made_up(model, full=True)]
    alone = _computed_alone(model, samples[:COMPARED_QUERIES])
    _check_steady(model, alone)
    ms = _time_one(model, [sample for sample, _ in alone], ms_max)
    batch_max, warnings = _batch_of(model, alone, ms)
    model.batch_max = batch_max
    good, vectors = _encode_all(model, samples, progress)
    if recorded and len(good) < len(recorded):
        warnings += (_left_out(model, samples, len(recorded) - len(good)),)
    return Trial(ms, batch_max, good if recorded else [], vectors, warnings + _empty_warning(model))


def made_up(model: QueryModel, *, full: bool) -> Features:
    """Features that any model should take: lists of the greatest length, or empty ones."""
    return {each.name: _made_up(each, model.vocabularies.get(each.vocab), full) for each in model.spec.inputs}


def _made_up(described: ModelInput, vocabulary: Vocabulary | None, full: bool) -> Feature:
    length = 1 if described.max_length is None else described.max_length if full else 0
    if vocabulary is not None:
        known = vocabulary.some(length)
        return Feature(described.kind, [known[place % len(known)] for place in range(length)])
    plain: Value = "" if described.type == "string" else 0.0 if described.type == "float32" else 0
    return Feature(described.kind, [plain] * length)


def _computed_alone(model: QueryModel, samples: Sequence[Features]) -> list[tuple[Features, Floats]]:
    """Those samples that have vectors, each asked alone, with them. Raises ModelRefused when none has."""
    outcomes = [model.encode([sample])[0] for sample in samples]
    _refuse_slow(outcomes)
    found = [
        (sample, outcome) for sample, outcome in zip(samples, outcomes, strict=True) if isinstance(outcome, np.ndarray)
    ]
    if not found:
        raise _refusal(outcomes[0])
    return found


def _refuse_slow(outcomes: Sequence[Outcome]) -> None:
    slow = next((outcome for outcome in outcomes if isinstance(outcome, ModelTooSlow)), None)
    if slow is not None:
        raise ModelRefused("drop.model_too_slow", f"Tried with one query, {slow.message}.")


def _refusal(outcome: Outcome) -> ModelRefused:
    """Why not even one sample has vectors."""
    said = outcome.message if isinstance(outcome, QueryModelError) else "no vectors came"
    is_not_finite = isinstance(outcome, ModelFailed) and outcome.reason == "MODEL_NOT_FINITE"
    reason = "drop.model_not_finite" if is_not_finite else "drop.model_shape"
    return ModelRefused(reason, f"No query could be computed. The first one: {said}.")


def _time_one(model: QueryModel, samples: Sequence[Features], ms_max: float) -> float:
    """Milliseconds of a query alone. Raises ModelRefused drop.model_too_slow."""
    took_ms: list[float] = []
    until = time.monotonic() + TIMED_SECONDS_MAX
    for turn in range(TIMED_QUERIES_MAX):
        began = time.thread_time()
        model.encode([samples[turn % len(samples)]])
        took_ms.append(MS_PER_SECOND * (time.thread_time() - began))
        if time.monotonic() > until:
            break
    ms = float(np.median(took_ms))
    if ms > ms_max:
        message = f"The query model takes {ms:.1f} ms for one query on one thread; {ms_max:g} ms are allowed."
        raise ModelRefused("drop.model_too_slow", message)
    return round(ms, 4)


def _check_steady(model: QueryModel, alone: Sequence[tuple[Features, Floats]]) -> None:
    """Raises ModelRefused when the same features give other vectors the next time."""
    for sample, vectors in alone:
        again = model.encode([sample])[0]
        if not isinstance(again, np.ndarray) or not alike(vectors, again):
            message = (
                "The query model gives other vectors for the same features the next time. Export it for inference "
                "(in PyTorch `model.eval()`), without dropout or random numbers."
            )
            raise ModelRefused("drop.model_unsteady", message)


def _batch_of(model: QueryModel, alone: Sequence[tuple[Features, Floats]], ms: float) -> tuple[int, tuple[str, ...]]:
    """How many queries may share a run, and what a person should know of it."""
    if not model.batches:
        why = "The query model takes one query at a time; leave its first axis open to have queries share a run."
        return 1, (why,)
    model.batch_max = len(alone)
    together = model.encode([sample for sample, _ in alone])
    for (_, vectors), found in zip(alone, together, strict=True):
        if not isinstance(found, np.ndarray) or not alike(vectors, found):
            why = "A query's vectors depend on the other queries of its run, so each is computed alone."
            return 1, (why,)
    return int(np.clip(BATCH_MS_MAX / max(ms, 1e-3), 1, BATCH_MAX)), ()


def _encode_all(
    model: QueryModel, samples: Sequence[Features], progress: Callable[[int, int], None]
) -> tuple[list[Features], Floats]:
    good: list[Features] = []
    vectors: list[Floats] = []
    for start in range(0, len(samples), BATCH_MAX):
        some = samples[start : start + BATCH_MAX]
        outcomes = model.encode(some)
        _refuse_slow(outcomes)
        for sample, found in zip(some, outcomes, strict=True):
            if isinstance(found, np.ndarray):
                good.append(sample)
                vectors.append(found)
        progress(start + len(some), len(samples))
    return good, np.stack(vectors)


def _left_out(model: QueryModel, samples: Sequence[Features], count: int) -> str:
    """How many recorded queries have no vectors, and why the first of them has none."""
    for sample in samples:
        outcome = model.encode([sample])[0]
        if isinstance(outcome, QueryModelError):
            return f"Of the recorded queries {count} are left out. The first of them: {outcome.message}."
    return f"Of the recorded queries {count} are left out."


def _empty_warning(model: QueryModel) -> tuple[str, ...]:
    """A new user has no history: many a model divides by its length."""
    if all(each.max_length is None for each in model.spec.inputs):
        return ()
    outcome = model.encode([made_up(model, full=False)])[0]
    if isinstance(outcome, QueryModelError):
        return (f"Queries with empty lists will not be answered: {outcome.message}.",)
    return ()
