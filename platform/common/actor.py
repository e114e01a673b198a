"""Who does something: a person, a key, or the platform itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """`name` is a user name, `key:<prefix>`, or the name of a process. Travels to every action and the audit trail."""

    kind: str  # user | key | system
    name: str
    request_id: str = ""
    address: str = ""


SYSTEM = Actor(kind="system", name="platform")
