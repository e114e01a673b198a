"""Two versions side by side: figures and their differences as people read them."""

from __future__ import annotations

from typing import Any

from django import template

from console.templatetags.console_tags import NOTHING, decimals, figure, grouped, size

register = template.Library()

NAMES = {
    "items": "Items",
    "searchable_items": "Items that may be answers",
    "bytes": "Size",
    "recall": "Recall",
    "p99_ms": "p99 when warmed up, ms",
}


@register.filter
def figure_name(name: str) -> str:
    return NAMES.get(name, name)


@register.filter
def figure_of(value: float | None, name: str) -> str:
    if value is None:
        return NOTHING
    if name == "bytes":
        return size(value)
    return decimals(value, 4 if name == "recall" else 2) if isinstance(value, float) else grouped(value)


@register.filter
def difference_of(value: float | None, name: str) -> str:
    """With its sign: +1,200, or −0.0031."""
    if value is None:
        return NOTHING
    if not value:
        return "the same"
    return f"{'+' if value > 0 else '−'}{figure_of(abs(value), name)}"


@register.filter
def share(value: float) -> str:
    return f"{100 * value:.1f} %"


@register.filter
def at_k(answers: dict[str, Any]) -> str:
    return f"of the first {grouped(answers['at'])}"


@register.filter
def drift(answers: dict[str, Any]) -> str:
    """Of the mean score: what it was, and by how much it moved."""
    moved = answers["score_drift_percent"]
    return f"beside {figure(answers['to_mean_score'])}" + ("" if moved is None else f", {moved:+.3g} %")


@register.filter
def beside_ms(value: float) -> str:
    return f"beside {decimals(value, 2)} ms"
