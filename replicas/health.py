"""What audits show of one replica process, and for how long it has been so. Pure but for the three calls of `ask`.

What follows from it is the control plane's to decide: `versions.verdicts`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import grpc

from recallpb.internal.v1 import documents_pb2
from replicas.client import ReplicaClient, is_the_replicas_own

# So many audits in a row must be slow before a replica is.
WINDOW_AUDITS = 3
# An audit that takes so long counts as two, so that a replica is found slow within the same time however slow it is.
LONG_MS = 300.0
# What takes longer is heard of at once. Whether it is slow is for `versions.verdicts`; nothing below is.
WORRYING_MS = 100.0
# Between two reports no more than this counts as time without an audit: an agent that was stopped, or whose machine
# was, has neglected nobody meanwhile.
REPORT_GAP_SECONDS_MAX = 1.5
MS_PER_SECOND = 1_000
# A replica that has refused so many audits in a row, one a second, is no busy one: it does not get on with its calls.
REFUSED_AUDITS_MAX = 60
AUDIT = documents_pb2.Order(order_id="audit", kind=documents_pb2.Order.AUDIT)


class Unsupported(Exception):
    """The process is of a release that knows no audits."""


class Health:
    """Of one life of a replica, from the moment it is ready."""

    def __init__(self, *, slack_seconds: float = 0.0) -> None:
        """`slack_seconds`: by how much an audit and the pause after it are allowed to be longer than two seconds."""
        self._slack_seconds = slack_seconds
        self._known = documents_pb2.ReplicaHealth()
        self._p99s_ms: deque[float] = deque(maxlen=WINDOW_AUDITS)
        self._reported_at = time.monotonic()
        self._unasked_seconds = 0.0
        self._refused_in_a_row = 0

    @property
    def silent(self) -> bool:
        """Whether it said nothing when it was asked last."""
        return bool(self._known.silent_in_a_row)

    @property
    def worrying(self) -> bool:
        """Whether the last outcome should be heard of at once."""
        long = bool(self._p99s_ms) and self._p99s_ms[-1] > WORRYING_MS
        known = self._known
        return bool(known.silent_in_a_row or known.wrong_in_a_row or known.away_in_a_row or long)

    async def ask(self, client: ReplicaClient, seconds_max: float) -> None:
        """One audit, and at the same time a call that only the process's loop answers, and a look through the door
        that gateways use. Raises Unsupported.
        """
        (outcome, said), lives, greets = await asyncio.gather(
            _audited(client, seconds_max), _lives(client, seconds_max), client.greets(seconds_max)
        )
        self.note(outcome, said=said, lives=lives, greets=greets, seconds_max=seconds_max)

    def note(
        self,
        outcome: documents_pb2.OrderResult | grpc.StatusCode,
        *,
        said: str | None = None,
        lives: bool,
        greets: bool,
        seconds_max: float,
    ) -> None:
        """Take in what came of one audit; `said` is what the replica itself had to say of a code. Raises Unsupported.

        A process that does not greet gateways says nothing to callers, whatever it answers here.

        INTERNAL, said by the replica itself, is as bad as a wrong answer. The same queries were answered when the
        version was checked, so that something in this process has broken since; callers' queries break like them, with
        a code that nobody tries again; and what cures it is a restart. Each audit asks other queries: when two in a
        row fail, it is not one odd query.

        UNAVAILABLE, said by the replica itself, is no fault of it: a server that its engine asks does not answer.
        """
        if outcome is grpc.StatusCode.UNIMPLEMENTED:
            raise Unsupported
        if not greets:
            self._count(silent=1)
        elif isinstance(outcome, documents_pb2.OrderResult):
            self._answered(outcome)
        elif outcome is grpc.StatusCode.INTERNAL:
            self._count(wrong=1)
            cause = f": {said}" if said else ""
            self._known.error = f"a known query was answered with an internal error{cause}"
        elif outcome is grpc.StatusCode.UNAVAILABLE and said is not None:
            self._count(away=1)
            self._known.error = said
        elif outcome is grpc.StatusCode.RESOURCE_EXHAUSTED:
            self._refused(seconds_max)
        elif not lives:
            self._count(silent=1)
        elif outcome is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._waited(seconds_max)
        else:
            self._refused(seconds_max)
        self._reported_at, self._unasked_seconds = time.monotonic(), 0.0

    def message(self) -> documents_pb2.ReplicaHealth:
        """As it is now, for a report; its age counts from report to report."""
        now = time.monotonic()
        self._unasked_seconds += min(now - self._reported_at, REPORT_GAP_SECONDS_MAX)
        self._reported_at = now
        message = documents_pb2.ReplicaHealth()
        message.CopyFrom(self._known)
        message.age_seconds = max(0.0, self._unasked_seconds - self._slack_seconds)
        if len(self._p99s_ms) == WINDOW_AUDITS:
            message.p99_ms, message.sustained_p99_ms = max(self._p99s_ms), min(self._p99s_ms)
        return message

    def _refused(self, seconds_max: float) -> None:
        """It lives and has calls enough: that says nothing of how it answers those that it takes, for a while."""
        self._refused_in_a_row += 1
        self._known.silent_in_a_row = 0
        if self._refused_in_a_row > REFUSED_AUDITS_MAX:
            self._waited(seconds_max)

    def _waited(self, seconds_max: float) -> None:
        """It lives and an audit waited in vain, in the line of callers' queries: slow, and neither frozen nor wrong."""
        self._took(seconds_max * MS_PER_SECOND)
        self._known.right_in_a_row = self._known.silent_in_a_row = self._known.away_in_a_row = 0

    def _answered(self, result: documents_pb2.OrderResult) -> None:
        known = self._known
        known.agreement, known.version, known.items = result.agreement, result.version, result.items
        known.error = result.error
        self._took(result.p99_ms)
        self._count(**{"right" if result.ok else "wrong": 1})

    def _took(self, p99_ms: float) -> None:
        self._p99s_ms.extend([p99_ms] * (2 if p99_ms >= LONG_MS else 1))

    def _count(self, *, right: int = 0, wrong: int = 0, silent: int = 0, away: int = 0) -> None:
        """One more of this kind in a row, and none of the others."""
        known = self._known
        known.right_in_a_row = (known.right_in_a_row + right) * right
        known.wrong_in_a_row = (known.wrong_in_a_row + wrong) * wrong
        known.silent_in_a_row = (known.silent_in_a_row + silent) * silent
        known.away_in_a_row = (known.away_in_a_row + away) * away
        self._refused_in_a_row = 0


async def _audited(
    client: ReplicaClient, seconds_max: float
) -> tuple[documents_pb2.OrderResult | grpc.StatusCode, str | None]:
    """The result, or a code and what the replica itself said of it, if it did."""
    try:
        return await client.execute(AUDIT, seconds_max), None
    except grpc.aio.AioRpcError as error:
        code: grpc.StatusCode = error.code()
        if is_the_replicas_own(error):
            return code, error.details() or ""
        # gRPC calls it INTERNAL, too, when a connection is reset; nothing is known then.
        return grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.INTERNAL else code, None


async def _lives(client: ReplicaClient, seconds_max: float) -> bool:
    try:
        await client.describe(seconds_max)
    except grpc.aio.AioRpcError as error:
        # A process that refuses is busy and alive.
        return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return True
