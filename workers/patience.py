"""How long a step of a build waits for one thing; and for a remote source that does not answer now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from bundles.errors import TEMPORARY_REASONS
from workers.context import BuildContext
from workers.outcomes import Wait

RETRY_SECONDS = 30.0
# Since the step began; then the build fails with what the source last said.
PATIENCE_SECONDS_MAX = 300.0


# Where a build's context keeps what its step waits for.
WAITS = "waits"


def waits(ctx: BuildContext, what: str) -> dict[str, Any]:
    """For the context of a Wait: since when the step waits for `what`. A wait for something else begins anew."""
    return {WAITS: {"for": what, "stay": _stay(ctx), "since": _since(ctx, what).isoformat()}}


def waited_seconds(ctx: BuildContext, what: str) -> float:
    """For how long this stay in the step has waited for `what`, and for nothing else in between; 0 at first."""
    return (timezone.now() - _since(ctx, what)).total_seconds()


def wait_for_source(ctx: BuildContext, reason: str, message: str) -> Wait | None:
    """A wait while another try may mend it and there is time left for one, else None."""
    if reason not in TEMPORARY_REASONS or ctx.waited_seconds > PATIENCE_SECONDS_MAX:
        return None
    return Wait(RETRY_SECONDS, detail=f"{message} Another try follows in {RETRY_SECONDS:.0f} s.")


def _since(ctx: BuildContext, what: str) -> datetime:
    known = ctx.values.get(WAITS, {})
    is_same = known.get("for") == what and known.get("stay") == _stay(ctx)
    return datetime.fromisoformat(known["since"]) if is_same else timezone.now()


def _stay(ctx: BuildContext) -> list[str]:
    """A step that was retried or overridden begins to wait anew."""
    return [ctx.step, ctx.started_at.isoformat()]
