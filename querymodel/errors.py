"""What can be wrong with a query model, and with the features that it is asked with.

QueryModelError
├── ModelRefused     the file, or what it computes, cannot serve; `reason` is a stable id `drop.*`
├── FeatureInvalid   a feature of one query does not fit the schema; `feature` names it
├── ModelFailed      the model cannot compute one query, or gives no usable vectors for it
└── ModelTooSlow     the model was stopped, because it computed one query for too long
"""

from __future__ import annotations

LIBRARY_CHARACTERS_MAX = 300
NAME_CHARACTERS_MAX = 80


class QueryModelError(Exception):
    """Base of the errors of this package; never raised itself. `message` is for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ModelRefused(QueryModelError):
    """The model, or a vocabulary of it, cannot be part of a version.

    Reasons: drop.model_unreadable, drop.model_unsafe, drop.model_too_large, drop.model_shape, drop.model_not_finite,
    drop.model_unsteady, drop.model_too_slow, drop.bad_vocabulary.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class FeatureInvalid(QueryModelError):
    """One query's feature; `reason` is UPPER_SNAKE and stable. `feature` may be what a stranger typed."""

    def __init__(self, feature: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.feature = feature
        self.reason = reason


class ModelFailed(QueryModelError):
    """The model ran and gave no usable vectors; `reason` is UPPER_SNAKE and stable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ModelTooSlow(QueryModelError):
    """The run was ended when its time was up."""

    def __init__(self, seconds_max: float) -> None:
        super().__init__(f"the query model computed for more than {1_000 * seconds_max:g} ms and was stopped")


def library_words(error: BaseException) -> str:
    """What a library says about a stranger's file or values: one line, printable, not endless."""
    text = " ".join(str(error).split())
    return "".join(each if each.isprintable() else "?" for each in text)[:LIBRARY_CHARACTERS_MAX]


def shown_name(name: str) -> str:
    """A name from outside, fit for a message."""
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= NAME_CHARACTERS_MAX else text[:NAME_CHARACTERS_MAX] + "…"
