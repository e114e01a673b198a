"""Words of people amid the platform's own."""

from __future__ import annotations

SENTENCE_ENDS = (".", "!", "?", "…")


def sentence(text: str) -> str:
    """`text` with a full stop, unless it ends like a sentence already."""
    text = text.strip()
    return text if not text or text.endswith(SENTENCE_ENDS) else f"{text}."
