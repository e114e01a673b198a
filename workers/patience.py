"""How long a build waits for a remote source that does not answer now."""

from __future__ import annotations

from bundles.errors import TEMPORARY_REASONS
from workers.context import BuildContext
from workers.outcomes import Wait

RETRY_SECONDS = 30.0
# Since the step began; then the build fails with what the source last said.
PATIENCE_SECONDS_MAX = 300.0


def wait_for_source(ctx: BuildContext, reason: str, message: str) -> Wait | None:
    """A wait while another try may mend it and there is time left for one, else None."""
    if reason not in TEMPORARY_REASONS or ctx.waited_seconds > PATIENCE_SECONDS_MAX:
        return None
    return Wait(RETRY_SECONDS, detail=f"{message} Another try follows in {RETRY_SECONDS:.0f} s.")
