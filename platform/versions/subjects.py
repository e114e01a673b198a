"""What an alert about a build calls it, and which build that is."""

from __future__ import annotations

PREFIX = "build "


def subject_of(build_number: int) -> str:
    return f"{PREFIX}{build_number}"


def build_number_in(subject: str) -> int | None:
    """12 of "build 12"; None of what is no build."""
    number = subject.removeprefix(PREFIX)
    return int(number) if number != subject and number.isdecimal() and number.isascii() else None
