"""What may stand in a path. What does not match is no path at all, and so never reaches a query."""

from __future__ import annotations


class NameConverter:
    """A name of a tenant or a service; wrong ones are looked up too, so that they read like any unknown one."""

    regex = r"[A-Za-z0-9_.-]{1,100}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class UsernameConverter(NameConverter):
    regex = r"[\w.@+-]{1,150}"


class NumberConverter:
    """A number of a build or a version."""

    regex = r"[1-9][0-9]{0,8}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)
