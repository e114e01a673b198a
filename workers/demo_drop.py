"""Delivers the drop of a demo build into its source, which is what a training job does for everybody else's."""

from __future__ import annotations

from pathlib import Path

from bundles.uris import resolve
from demo.drop import ITEMS, deliver
from versions.actions import DEMO
from workers.context import BuildContext
from workers.outcomes import StepFailed


def deliver_if_demo(ctx: BuildContext, uri: str, root: Path) -> None:
    """Raises StepFailed (demo.not_delivered) when the source cannot be written to, UriError when it leads out of it."""
    if not ctx.values.get(DEMO):
        return
    folder = resolve(uri, root) / ctx.build.drop_name
    try:
        deliver(folder)
    except OSError as error:
        message = f"The demo's drop cannot be written to {folder}: {error.strerror}. Workers need to write there."
        raise StepFailed("demo.not_delivered", message) from error
    ctx.say(f"Delivered the demo's drop: {ITEMS:,} items.")
