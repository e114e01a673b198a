"""What roles and scopes may, in words, from the tables by which it is decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tenants.permissions import Permission

WORDS: Mapping[Permission, str] = {
    Permission.VIEW: "look at services, versions, builds and alerts",
    Permission.QUERY: "ask for recalls",
    Permission.WRITE_ITEMS: "write and delete items in real time",
    Permission.BUILD: "ask for builds, cancel and retry them",
    Permission.OPERATE: "activate, roll back, hold, override a guard, look after alerts",
    Permission.MANAGE: "register, change and delete services, make and revoke keys, take people in and let them go",
}


class Rung(NamedTuple):
    """A role or a scope: what it `may` beyond the one before it, all of which it `includes`; empty for the first."""

    name: str
    may: str
    includes: str


def rungs_of(table: Mapping[str, frozenset[Permission]]) -> list[Rung]:
    told: list[Rung] = []
    before: frozenset[Permission] = frozenset()
    for name, held in table.items():
        words = (word for permission, word in WORDS.items() if permission in held - before)
        told.append(Rung(str(name), "; ".join(words), told[-1].name if told else ""))
        before |= held
    return told
