"""What comes back, as people read it: rows, what two answers share, how exact one was, where its time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from console.playground.fields import item_text
from console.playground.pictures import Cell, cell_of
from versions.queries.answers import column_values

Id = int | str
# Between scores that are one but for the order in which float32 numbers were added.
SCORE_TOLERANCE = 1e-5
IDS_TOLD_MAX = 20
# Part of the trace -> what people call it.
PARTS = {"queue": "waiting", "model": "query model", "search": "search", "merge": "merge"}
PICTURE_WIDTH = 1_000


@dataclass(frozen=True)
class Answer:
    """`ids` best first, and columns of the same length. `found_by` is empty when there was one vector."""

    version: int
    ids: tuple[Id, ...]
    scores: tuple[float, ...]
    found_by: tuple[int, ...]
    attributes: Mapping[str, Sequence[Any]]
    shortfall: int
    degraded: bool
    replica: str
    model_version: str
    coverage: Mapping[str, Any] | None
    timings: Mapping[str, int]


class Order(IntEnum):
    """Which scores are better; the sign by which they are compared."""

    LARGER = 1
    SMALLER = -1
    NONE = 0


class Place(NamedTuple):
    """Where an item stands in the other answer: `there` is its rank, None if it is only here; `moved` is how many
    places higher it stands here than there.
    """

    there: int | None
    moved: int = 0

    @property
    def fell(self) -> int:
        return -self.moved


class Row(NamedTuple):
    """`ask_by` is the id as the field takes it; `place` of None: there is no other answer."""

    rank: int
    id: Id
    ask_by: str
    score: float
    found_by: int | None
    place: Place | None
    is_wrong: bool
    cells: list[Cell]


class Part(NamedTuple):
    """A part of the time, and where it lies in a picture of PICTURE_WIDTH."""

    name: str
    label: str
    us: int
    start: float
    width: float


def answer_of(reply: Mapping[str, Any]) -> Answer:
    """From RecallResponse as proto JSON, whose 64-bit numbers are texts."""
    ids: list[Id] = [*map(int, reply["ids"]), *reply["text_ids"]]
    return Answer(
        version=int(reply["version"]),
        ids=tuple(ids),
        scores=tuple(reply["scores"]),
        found_by=tuple(reply["found_by"]),
        attributes={column["name"]: column_values(column) for column in reply["attributes"]},
        shortfall=reply["shortfall"],
        degraded=reply["degraded"],
        replica=reply["replica"],
        model_version=reply["model_version"],
        coverage=reply.get("coverage"),
        timings={name.removesuffix("_us"): int(us) for name, us in reply.get("timings", {}).items()},
    )


def rows_of(
    answer: Answer, other: Answer | None, missed: frozenset[Id], pictures: frozenset[str], host: str
) -> list[Row]:
    """The table. `missed`: items that exact search does not give."""
    there = {key: rank for rank, key in enumerate(other.ids, start=1)} if other else None
    columns = [
        [cell_of(value, is_picture=name in pictures, host=host) for value in column]
        for name, column in answer.attributes.items()
    ]
    return [
        Row(
            rank=rank,
            id=key,
            ask_by=item_text(key),
            score=score,
            found_by=answer.found_by[rank - 1] + 1 if answer.found_by else None,
            place=None if there is None else _place(rank, there.get(key)),
            is_wrong=key in missed,
            cells=[column[rank - 1] for column in columns],
        )
        for rank, (key, score) in enumerate(zip(answer.ids, answer.scores, strict=True), start=1)
    ]


def overlap(answer: Answer, other: Answer) -> float | None:
    """The share of the longer answer that both hold; None when both are empty."""
    longer = max(len(answer.ids), len(other.ids))
    return len(set(answer.ids) & set(other.ids)) / longer if longer else None


def recall_against(answer: Answer, exact: Answer, order: Order) -> float | None:
    """The share of the exact answer that was found; None when that is empty."""
    right = len(answer.ids) - len(misses(answer, exact, order))
    return min(1.0, right / len(exact.ids)) if exact.ids else None


def misses(answer: Answer, exact: Answer, order: Order) -> frozenset[Id]:
    """Items of the answer that the exact one does not hold, nor any as good.

    An item that scores as well as the last exact one is as right: which of several equals is cut off is chance.
    """
    right, last = set(exact.ids), exact.scores[-1] if exact.scores else 0.0
    margin = SCORE_TOLERANCE * max(1.0, abs(last))
    pairs = zip(answer.ids, answer.scores, strict=True)
    return frozenset(
        key for key, score in pairs if key not in right and not (order and order * (score - last) >= -margin)
    )


def timing_of(answer: Answer) -> list[Part]:
    """The parts of the time in the platform in their order, and what is none of them."""
    if not answer.timings:
        return []
    total = answer.timings.get("total", 0)
    spent = [(name, label, answer.timings.get(name, 0)) for name, label in PARTS.items()]
    spent.append(("rest", "the rest", max(0, total - sum(us for _, _, us in spent))))
    whole = max(1, sum(us for _, _, us in spent))
    parts, start = [], 0.0
    for name, label, us in spent:
        width = us / whole * PICTURE_WIDTH
        parts.append(Part(name, label, us, round(start, 1), round(width, 1)))
        start += width
    return [part for part in parts if part.us or part.name == "search"]


def words_of(answer: Answer, top_k: int) -> list[str]:
    """What is to be known of the answer beside its rows."""
    said = []
    if answer.shortfall:
        said.append(
            f"{len(answer.ids):,} of {top_k:,} items: {answer.shortfall:,} fewer than asked for, because no more match "
            "the filter or are in the version."
        )
    if answer.coverage is not None:
        said.append(_coverage(answer.coverage))
    if answer.degraded:
        said.append("The answer is degraded: a part of the version could not be asked.")
    return said


def _coverage(coverage: Mapping[str, Any]) -> str:
    used, missing = _ids(coverage.get("used", {})), _ids(coverage.get("missing", {}))
    if not missing:
        return f"All {len(used):,} items asked by are known." if len(used) != 1 else "The item asked by is known."
    told = ", ".join(missing[:IDS_TOLD_MAX]) + (", …" if len(missing) > IDS_TOLD_MAX else "")
    share = coverage.get("weight_covered", 0.0)
    return (
        f"{len(used):,} of {len(used) + len(missing):,} items asked by are known, with {share:.0%} of the weight; "
        f"this version does not hold {told}."
    )


def _ids(ids: Mapping[str, Any]) -> list[str]:
    return [*map(str, ids.get("ids", ())), *ids.get("text_ids", ())]


def _place(rank: int, there: int | None) -> Place:
    return Place(None) if there is None else Place(there, there - rank)
