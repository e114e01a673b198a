"""What a replica may say instead of an answer; protocol-neutral, mapped to codes in `wire`.

ReplicaError
  InvalidQuery      the caller's request is wrong; `field` names the part at fault
  NotServed         another version or model than the one loaded here
  DeadlinePassed    nobody waits for the answer any more
  ModelStopped      the query model computed for longer than it may
  AnswerTooLarge    the answer would not fit a message, even alone
  ReplyFull         the answer fits a message, and not this one beside the others; asked again it has its room
  QuestionTooLarge  the question has more bytes than are read
  EngineAway        what the engine asks over the network does not answer; the same may succeed later
  InternalError     our fault; says nothing of its cause to the caller
LoadError           the artifact cannot be served; `reason` is a stable id
"""

from __future__ import annotations


class ReplicaError(Exception):
    """One query's error: a stable UPPER_SNAKE reason, a sentence, and the request field at fault, if one is.

    `cause` is for the platform's own eyes: no caller hears it.
    """

    def __init__(self, reason: str, message: str, *, field: str = "", cause: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.cause = cause


class InvalidQuery(ReplicaError):
    """The request can never be answered as it is."""

    def __init__(self, field: str, reason: str, message: str) -> None:
        super().__init__(reason, message, field=field)


class NotServed(ReplicaError):
    """The request asks for a version or model that this replica does not hold."""


class DeadlinePassed(ReplicaError):
    """The caller's deadline passed before the search began; of one that asks a server, before it could end."""

    def __init__(self, *, before: str = "began") -> None:
        super().__init__("DEADLINE_PASSED", f"the deadline passed before the search {before}")


class ModelStopped(ReplicaError):
    """The query model was stopped; asked again it would be again."""

    def __init__(self, message: str) -> None:
        super().__init__("MODEL_TIME_EXCEEDED", message, field="features")


class AnswerTooLarge(ReplicaError):
    """One answer fits no message, whoever else asks; `field` is the one that says how much is asked for."""

    def __init__(self, field: str, bytes_max: int) -> None:
        super().__init__("ANSWER_TOO_LARGE", f"an answer holds at most {bytes_max} bytes; ask for less", field=field)


class ReplyFull(ReplicaError):
    """Other queries' answers fill this reply. The gateway asks again; a caller hears this by an older gateway only."""

    def __init__(self) -> None:
        super().__init__("REPLY_FULL", "the answers of other queries filled the reply; ask again")


class QuestionTooLarge(ReplicaError):
    """The question was not read: it says of itself that it is above the limit."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__("QUESTION_TOO_LARGE", f"a question holds at most {bytes_max} bytes; ask for less at once")


class EngineAway(ReplicaError):
    """A server behind the engine is not there just now; its address is ours to know."""

    def __init__(self, cause: str = "") -> None:
        message = "the engine that holds the index does not answer just now; try again"
        super().__init__("ENGINE_UNAVAILABLE", message, cause=cause)


class InternalError(ReplicaError):
    """Something of ours broke; the log has the cause."""

    def __init__(self, cause: str = "") -> None:
        super().__init__("INTERNAL", "the replica failed to answer", cause=cause)


class LoadError(Exception):
    """The artifact is not what was placed, or its index cannot be opened."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
