"""The epoch of every document's stamp."""

from __future__ import annotations

from versions.models import PlatformState


def epoch_raise(*, above: int) -> int:
    """Raises the epoch above `above`, so that documents made from these rows win; returns it. Twice does no harm."""
    PlatformState.objects.get_or_create(pk=1)
    PlatformState.objects.filter(pk=1, epoch__lte=above).update(epoch=above + 1)
    return PlatformState.objects.values_list("epoch", flat=True).get(pk=1)
