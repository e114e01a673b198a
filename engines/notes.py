"""What a build tells people beside its progress: sentences for its log. Whoever runs a build listens; else nobody does.

Of the whole process, as its one build is: what has something to tell is often a connection that its threads share.
"""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str], None]


def _nobody(_: str) -> None:
    """Who opens an index, or asks after one, tells no build."""


_listener: Listener = _nobody


def listen(listener: Listener) -> None:
    """`listener` hears each sentence from now on, in whichever thread tells it."""
    global _listener
    _listener = listener


def tell(sentence: str) -> None:
    _listener(sentence)
