"""A question over gRPC from a shell; grpcurl reads the messages' shape from the gateway's reflection."""

from __future__ import annotations

import shlex

from console.snippets.layout import as_json
from console.snippets.question import Endpoint, Question, request_of


def written(question: Question, endpoint: Endpoint) -> str:
    body = as_json({"service": endpoint.full_name, **request_of(question)})
    return (
        'grpcurl -plaintext -H "authorization: Bearer $RECALL_API_KEY" -d @ \\\n'
        f"  {shlex.quote(endpoint.gateway)} recallpb.v1.RecallService/Recall <<'EOF'\n"
        f"{body}\nEOF\n"
    )
