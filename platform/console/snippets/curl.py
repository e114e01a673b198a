"""A question over REST, by curl."""

from __future__ import annotations

import shlex
from typing import Any

from console.snippets.layout import as_json
from console.snippets.question import Endpoint, Question, request_of


def written(question: Question, endpoint: Endpoint) -> str:
    url = f"{endpoint.api_url}/tenants/{endpoint.tenant}/services/{endpoint.service}:recall"
    return (
        f"curl --fail-with-body -X POST {shlex.quote(url)} \\\n"
        '  -H "Authorization: Bearer $RECALL_API_KEY" \\\n'
        "  -H 'Content-Type: application/json' -d @- <<'EOF'\n"
        f"{as_json(_plain(request_of(question)))}\nEOF\n"
    )


def _plain(request: dict[str, Any]) -> dict[str, Any]:
    """REST takes a plain list of numbers for a vector."""
    if "vectors" not in request:
        return request
    return {**request, "vectors": [vector["values"]["values"] for vector in request["vectors"]["vectors"]]}
