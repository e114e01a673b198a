"""Words of people amid the platform's own."""

from __future__ import annotations

SENTENCE_ENDS = (".", "!", "?", "…")
FIGURE_DECIMALS = 4


def sentence(text: str) -> str:
    """`text` with a full stop, unless it ends like a sentence already."""
    text = text.strip()
    return text if not text or text.endswith(SENTENCE_ENDS) else f"{text}."


def figure(number: float) -> str:
    """As exact as people compare it: 0.98, 5, 12,345.6; what is smaller than that is 4e-05, and not 0."""
    shown = f"{number:,.{FIGURE_DECIMALS}f}".rstrip("0").rstrip(".")
    return f"{number:.2g}" if number and not float(shown.replace(",", "")) else shown
