"""What an alert about a build or a version calls it, and which that is."""

from __future__ import annotations

PREFIX = "build "
VERSION_PREFIX = "version "


def subject_of(build_number: int) -> str:
    return f"{PREFIX}{build_number}"


def version_subject_of(version_number: int) -> str:
    return f"{VERSION_PREFIX}{version_number}"


def build_number_in(subject: str) -> int | None:
    """12 of "build 12"; None of what is no build."""
    return _number_in(subject, PREFIX)


def version_number_in(subject: str) -> int | None:
    """6 of "version 6"; None of what is no version."""
    return _number_in(subject, VERSION_PREFIX)


def _number_in(subject: str, prefix: str) -> int | None:
    number = subject.removeprefix(prefix)
    return int(number) if number != subject and number.isdecimal() and number.isascii() else None
