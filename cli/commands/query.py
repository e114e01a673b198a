"""recall query: asking a service."""

from __future__ import annotations

import json
import math
import re
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.gateway import DEADLINE_MS, find_target, grpc_errors
from cli.options import ServiceName, Tenant
from cli.output import Json, pairs, remark, show, table
from common.texts import sentence

if TYPE_CHECKING:
    import numpy as np

    from recall_client import Answer, Client, FeatureQuery, ItemQuery, Options, WeightedItem

# Of texts only what looks like a weight or a time is one: a text id may hold colons and at signs itself.
TEXT_ITEM = re.compile(r"(?P<id>.+?)(?::(?P<weight>[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?))?(?:@(?P<at>[0-9]+))?")
NUMBER_ITEM = re.compile(r"(?P<id>[^:@]*)(?::(?P<weight>[^@]*))?(?:@(?P<at>.*))?")
GIVEN_CHARACTERS_SHOWN = 80
VECTOR_NUMBERS_SHOWN = 4

Weights = Annotated[str, typer.Option("--weights", help="Of several vectors, one for each: 1,0.5")]
HalfLife = Annotated[
    float, typer.Option("--half-life", help="Seconds by which an item may be older than the newest to count half.")
]
OnMissing = Annotated[
    str, typer.Option("--on-missing", help="Of items that the version lacks: skip (the default), fail, min_coverage.")
]
MinCoverage = Annotated[
    float, typer.Option("--min-coverage", help="The least share, 0 to 1, of the items' weight that must be known.")
]
ReturnVectors = Annotated[bool, typer.Option("--return-vectors", help="Tell the vectors of the items, too.")]


def query(
    service: ServiceName,
    vector: Annotated[
        str,
        typer.Option("--vector", "-v", help="Ask by a vector: a .npy or .json file, - for JSON on stdin, or numbers."),
    ] = "",
    items: Annotated[str, typer.Option("--items", help="Ask by items, id[:weight][@seconds]: 1,2:0.5@1763942400")] = "",
    features: Annotated[
        str, typer.Option("--features", help="Ask by features: a JSON object, a .json file, or - for stdin.")
    ] = "",
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="How many items.")] = 10,
    filter_by: Annotated[str, typer.Option("--filter", help="Only items like this: 'year >= 1990'")] = "",
    exclude: Annotated[str, typer.Option("--exclude", help="Not these ids: 1,2,3")] = "",
    keep: Annotated[bool, typer.Option("--keep-query-items", help="The items asked by may be answers, too.")] = False,
    half_life: HalfLife = 0.0,
    on_missing: OnMissing = "",
    min_coverage: MinCoverage = 0.0,
    weights: Weights = "",
    merge: Annotated[
        str,
        typer.Option("--merge", help="How the lists of several vectors become one: max, weighted_sum, round_robin."),
    ] = "max",
    attributes: Annotated[list[str] | None, typer.Option("--attribute", "-a", help="Show this attribute, too.")] = None,
    return_vectors: ReturnVectors = False,
    ef: Annotated[int | None, typer.Option(help="Search effort.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Search everything, if the service allows it.")] = False,
    require_version: Annotated[int, typer.Option(help="Only this version may answer.")] = 0,
    model_version: Annotated[str, typer.Option(help="The model that made the vector.")] = "",
    trace: Annotated[bool, typer.Option("--trace", help="Tell where the time went.")] = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Ask a service over gRPC: the best items for a vector, for several (a matrix), for items, or for features."""
    from recall_client import Client, Options

    _require_one(vector=vector, items=items, features=features)
    treated = _treatment(items, keep=keep, half_life=half_life, on_missing=on_missing, min_coverage=min_coverage)
    target = find_target(service, tenant)
    options = Options(
        filter=filter_by,
        merge=merge,
        weights=read_weights(weights),
        return_attributes=attributes or [],
        return_vectors=return_vectors,
        exact=exact,
        require_version=require_version,
        model_version=model_version,
        trace=True,
    )
    if ef is not None:
        options["ef"] = ef
    with (
        grpc_errors(target),
        Client(target.gateway, target.key, service=target.service, deadline_ms=DEADLINE_MS) as client,
    ):
        asked = _asked_by(client, vector=vector, items=items, features=features, treated=treated)
        if exclude:
            options["exclude"] = read_ids(exclude, "exclude", text_ids=_has_text_ids(client))
        answer = _recall(client, asked, top_k, options)
    show(as_data(answer), as_json=as_json, human=lambda: _tell(answer, trace=trace))


def _require_one(**given: str) -> None:
    """Raises CliError unless one of the options was given, and only one."""
    named = [f"--{name}" for name, value in given.items() if value]
    if len(named) != 1:
        message = f"{' and '.join(named)} are given; ask by one of them." if named else "There is nothing to ask by."
        remedy = "" if named else f"Give one of {', '.join(f'--{name}' for name in given)}."
        raise CliError(message, remedy=remedy, field=(named or ["--vector"])[0].lstrip("-"), exit_code=EXIT_USAGE)


def _treatment(items: str, *, keep: bool, half_life: float, on_missing: str, min_coverage: float) -> dict[str, Any]:
    """How the items of an ItemQuery are treated. Raises CliError where there are none that it could be said of."""
    given = {"half-life": half_life, "on-missing": on_missing, "min-coverage": min_coverage}
    idle = [name for name, value in given.items() if value and not items]
    if idle:
        raise CliError(f"--{idle[0]} is of --items.", field=idle[0], exit_code=EXIT_USAGE)
    return {
        "keep_query_items": keep,
        "half_life_seconds": half_life,
        "on_missing": on_missing or ("min_coverage" if min_coverage else "skip"),
        "min_coverage": min_coverage,
    }


def _asked_by(client: Client, *, vector: str, items: str, features: str, treated: dict[str, Any]) -> Any:
    if vector:
        return read_vector(vector)
    if items:
        return read_items(items, text_ids=_has_text_ids(client), **treated)
    return read_features(features)


def _recall(client: Client, asked: Any, top_k: int, options: Options) -> Answer:
    """Raises RecallError, and CliError for a number that no message can hold."""
    try:
        return client.recall(asked, top_k=top_k, **options)
    except (ValueError, TypeError) as error:
        raise CliError(sentence(str(error)), exit_code=EXIT_USAGE) from error


def _has_text_ids(client: Client) -> bool:
    return client.service_info().schema.id_type == "string"


def read_ids(given: str, field: str, *, text_ids: bool) -> list[Any]:
    """`1,2,3` as the schema has its ids. Raises CliError."""
    ids = [part.strip() for part in given.split(",") if part.strip()]
    return ids if text_ids else [_number(one, field) for one in ids]


def read_items(given: str, *, text_ids: bool, **treated: Any) -> ItemQuery:
    """`1,2:0.5@1763942400`: ids, each with a weight and a time if it has them. Raises CliError."""
    from recall_client import ItemQuery

    parts = filter(None, map(str.strip, given.split(",")))
    return ItemQuery([_read_item(part, text_ids=text_ids) for part in parts], **treated)


def _read_item(part: str, *, text_ids: bool) -> WeightedItem:
    from recall_client import WeightedItem

    found = (TEXT_ITEM if text_ids else NUMBER_ITEM).fullmatch(part)
    key, weight, at = found.group("id", "weight", "at") if found else (part, None, None)
    return WeightedItem(
        key if text_ids else _number(key, "items"),
        None if weight is None else _weight(weight, part, "items"),
        None if at is None else _seconds(at, part),
    )


def read_weights(given: str) -> list[float]:
    """`1,0.5`. Raises CliError."""
    return [_weight(part.strip(), part.strip(), "weights") for part in given.split(",") if part.strip()]


def _weight(text: str, part: str, field: str) -> float:
    with suppress(ValueError):
        if math.isfinite(weight := float(text)):
            return weight
    message = f"{part[:GIVEN_CHARACTERS_SHOWN]} has no weight that is a number."
    remedy = "Write id[:weight][@seconds], such as 2:0.5 or 2:0.5@1763942400." if field == "items" else ""
    raise CliError(message, field=field, remedy=remedy, exit_code=EXIT_USAGE)


def _seconds(text: str, part: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        message = f"{part[:GIVEN_CHARACTERS_SHOWN]} has no time that is a whole number of seconds since 1970."
        raise CliError(message, field="items", exit_code=EXIT_USAGE) from error


def _number(text: str, field: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        message = f"{text[:GIVEN_CHARACTERS_SHOWN]} is no id; this service's ids are whole numbers."
        raise CliError(message, field=field, exit_code=EXIT_USAGE) from error


def read_features(given: str) -> FeatureQuery:
    """A JSON object of features. Raises CliError."""
    from recall_client import FeatureQuery

    try:
        features = json.loads(_text_of(given))
    except (OSError, ValueError) as error:
        raise _no_features(given, str(error)) from error
    if not isinstance(features, dict):
        raise _no_features(given, "it is no object")
    return FeatureQuery(features)


def _no_features(given: str, why: str) -> CliError:
    message = sentence(f"{given[:GIVEN_CHARACTERS_SHOWN]} holds no features: {why}")
    remedy = """Give a JSON object: --features '{"hist_item": [1, 2], "age": 31}'"""
    return CliError(message, field="features", remedy=remedy, exit_code=EXIT_USAGE)


def _text_of(given: str) -> str:
    """stdin for -, a .json file's text, else what was given."""
    return sys.stdin.read() if given == "-" else Path(given).read_text() if given.endswith(".json") else given


def read_vector(given: str) -> np.ndarray:
    """float32 [d], or [m, d]. Raises CliError."""
    import numpy as np

    try:
        if given.endswith(".npy"):
            return np.asarray(np.load(given, allow_pickle=False), dtype=np.float32)
        text = _text_of(given)
        numbers: Any = json.loads(text if text.lstrip().startswith("[") else f"[{text}]")
        return np.asarray(numbers, dtype=np.float32)
    except (OSError, ValueError, TypeError) as error:
        message = sentence(f"{given[:GIVEN_CHARACTERS_SHOWN]} is no vector: {error}")
        remedy = "Give a .npy or .json file, or numbers: --vector 0.1,0.2,0.3"
        raise CliError(message, field="vector", remedy=remedy, exit_code=EXIT_USAGE) from error


def as_data(answer: Answer) -> dict[str, Any]:
    """JSON types."""
    coverage = answer.coverage
    return {
        "version": answer.version,
        "model_version": answer.model_version,
        "ids": answer.ids.tolist(),
        "scores": [float(score) for score in answer.scores],
        "attributes": {name: column.tolist() for name, column in answer.attributes.items()},
        "vectors": None if answer.vectors is None else answer.vectors.tolist(),
        "found_by": answer.found_by.tolist(),
        "coverage": coverage
        and {
            "used": coverage.used.tolist(),
            "missing": coverage.missing.tolist(),
            "weight_covered": coverage.weight_covered,
        },
        "shortfall": answer.shortfall,
        "degraded": answer.degraded,
        "replica": answer.replica,
        "total_us": answer.timings.total_us if answer.timings else None,
        "timings": asdict(answer.timings) if answer.timings else None,
    }


def _shown_vector(values: list[float]) -> str:
    """Its beginning; the whole is in the JSON."""
    more = ", …" if len(values) > VECTOR_NUMBERS_SHOWN else ""
    return f"[{', '.join(f'{value:.3g}' for value in values[:VECTOR_NUMBERS_SHOWN])}{more}]"


def _tell(answer: Answer, *, trace: bool) -> None:
    columns: dict[str, Any] = {"id": [str(one) for one in answer.ids], "score": answer.scores.tolist()}
    if answer.found_by.size:
        columns["found by"] = answer.found_by.tolist()
    columns.update(answer.attributes)
    if answer.vectors is not None:
        columns["vector"] = [_shown_vector(row) for row in answer.vectors.tolist()]
    ranks = range(1, len(answer) + 1)
    table(("", *columns), zip(ranks, *columns.values(), strict=True), empty="No items.")
    if answer.coverage and answer.coverage.missing.size:
        missing = ", ".join(map(str, answer.coverage.missing.tolist()))
        remark(f"unknown items: {missing}; the others hold {answer.coverage.weight_covered:.0%} of the weight")
    took = f", {answer.timings.total_us / 1000:.2f} ms in the platform" if answer.timings else ""
    remark(f"version {answer.version}{took}")
    if trace and answer.timings:
        pairs((name.removesuffix("_us"), f"{us / 1000:.3f} ms") for name, us in asdict(answer.timings).items())
