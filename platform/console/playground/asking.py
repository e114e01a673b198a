"""Asking what was typed: one version, or two beside one another, and each of them exactly if that is wanted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from catalog.models import Service
from common.errors import RecallError
from console.playground import answers
from console.playground.answers import Answer, Id, Order, Part, Row
from console.playground.fields import FEATURE, LIVE
from console.snippets import Question, request_of
from tenants.permissions import Caller
from versions.models import Version
from versions.queries import recall

# Field of a request, up to its first dot or bracket behind these -> field of the page.
FIELDS = {
    "vectors": "vector",
    "items": "items",
    "features": "features",
    "filter": "filter",
    "top_k": "k",
    "params.ef": "ef",
    "params.exact": "check",
    "require_version": "on",
    "merge": "merge",
    "query": "",
}
FEATURE_FIELD = "features.features["


class Choice(NamedTuple):
    """A version that can be asked; `value` as the field takes it."""

    value: str
    label: str


@dataclass(frozen=True)
class Side:
    """One version's answer, or the error that came instead; `exact_error` says why it was not held to exact search."""

    label: str
    answer: Answer | None = None
    error: RecallError | None = None
    exact: Answer | None = None
    exact_error: RecallError | None = None


@dataclass(frozen=True)
class Table:
    """A side as the page shows it; `recall` of None: nobody looked."""

    side: Side
    rows: list[Row]
    parts: list[Part]
    words: list[str]
    recall: float | None


def choices_of(service: Service, versions: Sequence[Version]) -> list[Choice]:
    """What answers when nothing is said first, then each other of the `versions` by its number."""
    found: list[Choice] = []
    for version in versions:
        if version.number == service.live_version:
            found.insert(0, Choice(LIVE, _label(version, "live")))
        else:
            role = "previous" if version.activated_at else "candidate"
            found.append(Choice(str(version.number), _label(version, role)))
    return found


def ask(*, caller: Caller, service: Service, question: Question, attributes: tuple[str, ...], check: bool) -> Side:
    """Asks `question`; with `check` once more by exact search, of the version that answered."""
    label = f"Version {question.require_version}" if question.require_version else "Live version"
    question = replace(question, trace=True, attributes=attributes)
    try:
        answer = _recalled(caller, service, question)
    except RecallError as error:
        return Side(label, error=error)
    if not question.require_version:
        label = f"Live, version {answer.version}"
    if not check:
        return Side(label, answer)
    exactly = replace(question, exact=True, ef=None, attributes=(), trace=False, require_version=answer.version)
    try:
        return Side(label, answer, exact=_recalled(caller, service, exactly))
    except RecallError as error:
        return Side(label, answer, exact_error=error)


def table_of(side: Side, other: Side | None, *, order: Order, top_k: int, pictures: frozenset[str], host: str) -> Table:
    """`pictures`: attributes whose values are addresses of pictures; `host`: where the page comes from."""
    if side.answer is None:
        return Table(side, [], [], [], None)
    beside = other.answer if other else None
    recall_at_k = None
    missed: frozenset[Id] = frozenset()
    if side.exact is not None:
        missed = answers.misses(side.answer, side.exact, order)
        recall_at_k = answers.recall_against(side.answer, side.exact, order)
    rows = answers.rows_of(side.answer, beside, missed, pictures, host)
    return Table(side, rows, answers.timing_of(side.answer), answers.words_of(side.answer, top_k), recall_at_k)


def field_of(error: RecallError, by: str) -> str:
    """The field of the page that the error is about; empty: of none of them."""
    named = error.field
    if named.startswith(FEATURE_FIELD):
        # The feature's name stands there as JSON.
        return FEATURE + str(json.loads(named.removeprefix(FEATURE_FIELD).removesuffix("]")))
    whole = next(
        (page for name, page in FIELDS.items() if named == name or named.startswith((f"{name}.", f"{name}["))), None
    )
    return "" if whole is None else whole or by


def version_asked(service: Service, versions: Sequence[Version], number: int) -> Version | None:
    """Which of the `versions` answers; None when it is none of them. A number of 0: the live one."""
    wanted = number or service.live_version
    return next((version for version in versions if version.number == wanted), None)


def order_of(metric: str, merge: str) -> Order:
    """Whether larger scores are better. By turns they tell nothing: each list's are its own."""
    return Order.NONE if merge == "ROUND_ROBIN" else Order.SMALLER if metric == "l2" else Order.LARGER


def _recalled(caller: Caller, service: Service, question: Question) -> Answer:
    return answers.answer_of(recall(caller=caller, service=service, request=request_of(question)))


def _label(version: Version, role: str) -> str:
    of_model = f", {version.model_version}" if version.model_version else ""
    return f"{version.number}: {role}{of_model}"
