"""recall query: asking a service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.gateway import DEADLINE_MS, find_target, grpc_errors
from cli.options import ServiceName, Tenant
from cli.output import Json, remark, show, table

if TYPE_CHECKING:
    import numpy as np

    from recall_client import Answer


def query(
    service: ServiceName,
    vector: Annotated[
        str,
        typer.Option("--vector", "-v", help="A .npy or .json file, - for JSON on stdin, or numbers."),
    ],
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="How many items.")] = 10,
    attributes: Annotated[list[str] | None, typer.Option("--attribute", "-a", help="Show this attribute, too.")] = None,
    ef: Annotated[int | None, typer.Option(help="Search effort.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Search everything, if the service allows it.")] = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Ask a service over gRPC: the best items for a vector, or for several (a matrix)."""
    from recall_client import Client, Options

    target = find_target(service, tenant)
    options = Options(return_attributes=attributes or [], exact=exact, trace=True)
    if ef is not None:
        options["ef"] = ef
    with (
        grpc_errors(target),
        Client(target.gateway, target.key, service=target.service, deadline_ms=DEADLINE_MS) as client,
    ):
        answer = client.recall(read_vector(vector), top_k=top_k, **options)
    show(as_data(answer), as_json=as_json, human=lambda: _tell(answer))


def read_vector(given: str) -> np.ndarray:
    """float32 [d], or [m, d]. Raises CliError."""
    import numpy as np

    try:
        if given.endswith(".npy"):
            return np.asarray(np.load(given, allow_pickle=False), dtype=np.float32)
        text = sys.stdin.read() if given == "-" else Path(given).read_text() if given.endswith(".json") else given
        numbers: Any = json.loads(text if text.lstrip().startswith("[") else f"[{text}]")
        return np.asarray(numbers, dtype=np.float32)
    except (OSError, ValueError, TypeError) as error:
        message = f"{given[:80]} is no vector: {error}."
        remedy = "Give a .npy or .json file, or numbers: --vector 0.1,0.2,0.3"
        raise CliError(message, field="vector", remedy=remedy, exit_code=EXIT_USAGE) from error


def as_data(answer: Answer) -> dict[str, Any]:
    """JSON types."""
    return {
        "version": answer.version,
        "ids": answer.ids.tolist(),
        "scores": [float(score) for score in answer.scores],
        "attributes": {name: column.tolist() for name, column in answer.attributes.items()},
        "found_by": answer.found_by.tolist(),
        "shortfall": answer.shortfall,
        "degraded": answer.degraded,
        "replica": answer.replica,
        "total_us": answer.timings.total_us if answer.timings else None,
    }


def _tell(answer: Answer) -> None:
    rows = [
        (rank + 1, str(answer.ids[rank]), float(answer.scores[rank]), *(c[rank] for c in answer.attributes.values()))
        for rank in range(len(answer))
    ]
    table(("", "id", "score", *answer.attributes), rows, empty="No items.")
    took = f", {answer.timings.total_us / 1000:.2f} ms in the platform" if answer.timings else ""
    remark(f"version {answer.version}{took}")
