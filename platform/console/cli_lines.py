"""What the console's actions are called in a shell: one line of the `recall` program for each.

The lines are told here and nowhere else; a test holds each of them to the program itself, so that none drifts away.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from string import Formatter

# What a reader is to fill in; it is quoted so that the line can be pasted as it is, too.
WHY = "'...'"
# `service` is `tenant/name`; every other word is an argument of the same name.
LINES: Mapping[str, str] = {
    "build": "recall build {service}",
    "cancel": "recall cancel {service} {number}",
    "retry": "recall retry {service} {number}",
    "override": f"recall override {{service}} {{number}} --reason {WHY}",
    "activate": f"recall activate {{service}} {{number}} --reason {WHY}",
    "rollback": f"recall rollback {{service}} --from-version {{number}} --reason {WHY}",
    "hold": f"recall service hold {{service}} --reason {WHY}",
    "release": "recall service release {service}",
    "traffic": "recall traffic {service} --hours {hours}",
    "key-create": "recall key create --tenant {tenant} --scope {scope}",
    "key-create-service": "recall key create {service} --scope {scope}",
    "key-list": "recall key list --tenant {tenant}",
    "key-rotate": "recall key rotate {prefix} --overlap-seconds {overlap_seconds} --tenant {tenant}",
    "key-revoke": "recall key revoke {prefix} --tenant {tenant}",
    "tenant-list": "recall tenant list",
    "tenant-create": "recall tenant create {tenant}",
    "alerts": "recall alerts --tenant {tenant}",
    "acknowledge": "recall alerts ack {number} --tenant {tenant}",
    "build-log": "recall builds {service} {number} --log",
    "compare": "recall compare {service} {number} --to {to}",
    "neighbours": "recall query {service} --items {item} -k {top_k} --require-version {number}",
    "service-show": "recall service show {service} --json",
    "service-delete": "recall service delete {service}",
    "apply": "recall service apply -f {file}",
    "member-list": "recall member list --tenant {tenant}",
    "member-add": "recall member add {user} --role {role} --tenant {tenant}",
    "member-role": "recall member role {user} {role} --tenant {tenant}",
    "member-remove": "recall member remove {user} --tenant {tenant}",
    "quota": "recall tenant quota {tenant} --services-max {services_max}",
    "demo": "recall demo",
    "admin-create": "recall admin create",
    "admin-unlock": "recall admin unlock {user}",
}


def cli_line(name: str, *, options: Mapping[str, object] | None = None, **values: object) -> str:
    """The line of the action `name`, with `--option value` for each of `options`; quoted where a shell needs it.

    Raises KeyError for a value that is missing.
    """
    line = LINES[name].format_map({word: shlex.quote(str(value)) for word, value in values.items()})
    return line + "".join(f" --{option} {shlex.quote(str(value))}" for option, value in (options or {}).items())


def words_of(name: str) -> set[str]:
    """What `cli_line` has to be told for this action."""
    return {word for _, word, _, _ in Formatter().parse(LINES[name]) if word}
