"""What was asked of services, as charts and lists show it. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from django.utils import timezone

from catalog.models import Service
from documents.traffic import LATENCY_SECONDS, SETTLED_AFTER_SECONDS, SPAN_SECONDS, Traffic, span_of
from versions.models import Activation, TrafficSpan, Version

# What "now" means in a list.
LATELY_SECONDS = 60
# A chart has at most about so many points.
POINTS_MAX = 360
HOURS_MAX = 24
# At the finest there is a point for every span that is kept.
SPANS_MAX = HOURS_MAX * 3_600 // SPAN_SECONDS
# Rows come a little later than what they tell of: the span, its settling, and the tick that takes it.
LAG_SECONDS = 2 * SPAN_SECONDS + SETTLED_AFTER_SECONDS
# Memory is noted every minute when nobody calls; one that is older says nothing any more.
MEMORY_FRESH_SECONDS = 150
SWITCHES_MAX = 100
# What a caller did wrong, or took back, is no failure of the service.
CALLERS_OWN = frozenset(
    {"INVALID_ARGUMENT", "CANCELLED", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION"}
)
OK = "OK"
# Few enough for a chart, and enough to tell one call in a day.
RATE_DECIMALS = 6
P50, P95, P99 = 0.5, 0.95, 0.99


@dataclass(frozen=True)
class Load:
    """What is asked of one service lately: `p99_ms` is None when nothing was answered."""

    queries_per_second: float
    p99_ms: float | None
    failed_calls: int


@dataclass(frozen=True)
class Percentile:
    """How quick one service was over a time, and over how many calls."""

    p99_ms: float
    calls: int


@dataclass(frozen=True)
class History:
    """A service over time; all lists are of one length, a point for every `step_seconds`. None: nothing is known.

    `errors` are calls a second by gRPC code. `versions` says which version was live then, `age_seconds` how old it was
    and `recall` how it was measured when it was built; `recall_target` and `recall_min` are the spec's, as it is now.
    """

    step_seconds: int
    at: list[int]
    queries_per_second: list[float]
    p50_ms: list[float | None]
    p95_ms: list[float | None]
    p99_ms: list[float | None]
    errors: dict[str, list[float]]
    memory_bytes: list[int | None]
    versions: list[int | None]
    age_seconds: list[int | None]
    recall: list[float | None]
    recall_target: float | None
    recall_min: float | None
    switches: list[dict[str, Any]]


def loads_of(services: Iterable[Service]) -> dict[int, Load]:
    """By the service's key, over the last LATELY_SECONDS of which there are rows for sure; one query for all."""
    until = datetime.fromtimestamp(_recorded_until(), UTC)
    asked = _asked_of(services, until - timedelta(seconds=LATELY_SECONDS), until)
    return {key: _load(traffic) for key, traffic in asked.items()}


def percentiles_of(services: Iterable[Service], since: datetime, until: datetime) -> dict[int, Percentile]:
    """By the service's key, over whole spans between both times, as far as there are rows; one query for all."""
    asked = _asked_of(services, since, until - timedelta(seconds=SPAN_SECONDS))
    found = {key: (percentile_ms(traffic.counts, P99), traffic.calls) for key, traffic in asked.items()}
    return {key: Percentile(p99_ms, calls) for key, (p99_ms, calls) in found.items() if p99_ms is not None}


def history_of(service: Service, *, hours: int, points_max: int = POINTS_MAX) -> History:
    """The last `hours` (1 to HOURS_MAX) of one service, in about `points_max` points."""
    seconds = max(1, min(hours, HOURS_MAX)) * 3600
    step = SPAN_SECONDS * -(-seconds // (SPAN_SECONDS * points_max))
    end = _recorded_until()
    begin = (end - seconds) // step * step
    points = list(range(begin, end, step))
    asked, memory = _summed(service, points, step)
    switches = _switches(service, begin)
    lives = _lives(service, switches, points)
    codes = sorted({code for traffic in asked for code in traffic.codes} - {OK})
    return History(
        step_seconds=step,
        at=points,
        queries_per_second=[round(traffic.queries / step, RATE_DECIMALS) for traffic in asked],
        p50_ms=[percentile_ms(traffic.counts, P50) for traffic in asked],
        p95_ms=[percentile_ms(traffic.counts, P95) for traffic in asked],
        p99_ms=[percentile_ms(traffic.counts, P99) for traffic in asked],
        errors={code: [round(traffic.codes.get(code, 0) / step, RATE_DECIMALS) for traffic in asked] for code in codes},
        memory_bytes=_carried_on(memory, step),
        versions=[live.number if live else None for live in lives],
        age_seconds=[live.age_seconds(at) if live else None for live, at in zip(lives, points, strict=True)],
        recall=[live.recall if live else None for live in lives],
        recall_target=service.spec["search"]["recall_target"],
        recall_min=service.spec["guards"]["min_recall"],
        switches=[switch for switch in switches if switch["at"] >= begin],
    )


def rows_of(history: History) -> list[dict[str, Any]]:
    """The same as rows, newest first, for those who read rather than look; `errors` are calls by code."""

    def errors(place: int) -> dict[str, int]:
        calls = {code: round(rates[place] * history.step_seconds) for code, rates in history.errors.items()}
        return {code: count for code, count in calls.items() if count}

    return [
        {
            "at": datetime.fromtimestamp(at, UTC),
            "queries_per_second": history.queries_per_second[place],
            "p50_ms": history.p50_ms[place],
            "p95_ms": history.p95_ms[place],
            "p99_ms": history.p99_ms[place],
            "errors": errors(place),
            "memory_bytes": history.memory_bytes[place],
            "version_age_seconds": history.age_seconds[place],
            "version": history.versions[place],
            "recall": history.recall[place],
        }
        for place, at in reversed(list(enumerate(history.at)))
    ]


def metrics_of(service: Service, *, hours: int, points_max: int) -> dict[str, Any]:
    """The last `hours` for programs: a point for every `step_seconds`, oldest first, and the switches among them."""
    history = history_of(service, hours=hours, points_max=points_max)
    switches = [{**switch, "at": datetime.fromtimestamp(switch["at"], UTC)} for switch in history.switches]
    return {"step_seconds": history.step_seconds, "points": rows_of(history)[::-1], "switches": switches}


def percentile_ms(counts: Sequence[int], share: float) -> float | None:
    """The time within which `share` of the calls were answered, read between the bounds; None when there were none.

    What took longer than the last bound counts as that long.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, reached = share * total, list(accumulate(counts))
    place = next(place for place, calls in enumerate(reached) if calls >= wanted)
    if place == len(LATENCY_SECONDS):
        return LATENCY_SECONDS[-1] * 1e3
    low = LATENCY_SECONDS[place - 1] if place else 0.0
    within = (wanted - reached[place] + counts[place]) / counts[place]
    return round((low + (LATENCY_SECONDS[place] - low) * within) * 1e3, 3)


def _recorded_until() -> int:
    """The end of the newest span that has become rows, when nothing is late."""
    return span_of(timezone.now().timestamp() - LAG_SECONDS) + SPAN_SECONDS


def _asked_of(services: Iterable[Service], since: datetime, until: datetime) -> dict[int, Traffic]:
    """In spans that began from `since` to before `until`."""
    spans = TrafficSpan.objects.filter(service__in=services, queries__gt=0, at__gte=since, at__lt=until)
    asked: dict[int, Traffic] = {}
    for span in spans.only("service_id", "queries", "codes", "counts"):
        asked.setdefault(span.service_id, Traffic()).add(_traffic(span))
    return asked


def _load(traffic: Traffic) -> Load:
    failed = sum(calls for code, calls in traffic.codes.items() if code != OK and code not in CALLERS_OWN)
    return Load(
        queries_per_second=traffic.queries / LATELY_SECONDS,
        p99_ms=percentile_ms(traffic.counts, P99),
        failed_calls=failed,
    )


def _traffic(span: TrafficSpan) -> Traffic:
    counts = span.counts or [0] * (len(LATENCY_SECONDS) + 1)
    return Traffic(queries=span.queries, codes=span.codes, counts=counts)


def _summed(service: Service, points: Sequence[int], step: int) -> tuple[list[Traffic], list[int | None]]:
    """What was asked from each point to the next, and the memory last noted there."""
    asked: list[Traffic] = [Traffic() for _ in points]
    memory: list[int | None] = [None] * len(points)
    since = datetime.fromtimestamp(points[0], UTC)
    for span in TrafficSpan.objects.of(service.tenant).filter(service=service, at__gte=since).order_by("at"):
        place = (int(span.at.timestamp()) - points[0]) // step
        if place < len(points):
            asked[place].add(_traffic(span))
            memory[place] = span.rss_bytes or memory[place]
    return asked, memory


def _carried_on(values: Sequence[int | None], step: int) -> list[int | None]:
    """Each gap is filled with the value before it, as long as that one may still hold."""
    carried: list[int | None] = []
    left = 0
    for value in values:
        left = max(1, MEMORY_FRESH_SECONDS // step) if value is not None else left - 1
        carried.append(value if value is not None else (carried[-1] if carried and left > 0 else None))
    return carried


def _switches(service: Service, begin: int) -> list[dict[str, Any]]:
    """Those since then and the one before them, oldest first: what was live at any time."""
    newest = Activation.objects.of(service.tenant).filter(service=service).order_by("-live_generation")
    found: list[dict[str, Any]] = []
    for switch in newest.values("at", "kind", "from_version", "to_version", "actor")[:SWITCHES_MAX]:
        found.append({**switch, "at": int(switch["at"].timestamp())})
        if found[-1]["at"] < begin:
            break
    return found[::-1]


@dataclass(frozen=True)
class _Live:
    """What is to be known of a version that was live for a time."""

    number: int
    made_at: int
    recall: float | None

    def age_seconds(self, at: int) -> int:
        return max(0, at - self.made_at)


def _lives(service: Service, switches: Sequence[dict[str, Any]], points: Sequence[int]) -> list[_Live | None]:
    """The version that was live at each point."""
    numbers = {switch["to_version"] for switch in switches}
    made = Version.objects.of(service.tenant).filter(service=service, number__in=numbers, completed_at__isnull=False)
    known = {
        number: _Live(number, int(made_at.timestamp()), recall)
        for number, made_at, recall in made.values_list("number", "completed_at", "recall")
        if made_at
    }
    found: list[_Live | None] = []
    coming, live = list(switches[::-1]), None
    for point in points:
        while coming and coming[-1]["at"] <= point:
            live = known.get(coming.pop()["to_version"])
        found.append(live)
    return found
