"""What a spec would mean, asked of the platform and told to a person; nothing is registered or changed."""

from __future__ import annotations

from typing import Any

from cli.api import Api
from cli.errors import EXIT_DENIED, CliError
from cli.output import bytes_text, count, pairs, remark, table


def ask(api: Api, services: str, spec: dict[str, Any], items: int | None) -> dict[str, Any]:
    """Raises CliError, with every fault of the spec when there are some."""
    return api.post(f"{services}:estimate", {"spec": spec, "items": items})


def ask_if_permitted(api: Api, services: str, spec: dict[str, Any], items: int | None) -> dict[str, Any] | None:
    """As `ask`; None, with a remark, for somebody who may look at services and not into sources."""
    try:
        return ask(api, services, spec, items)
    except CliError as error:
        if error.exit_code != EXIT_DENIED:
            raise
        remark(f"engine and memory are not told: {error.line()}")
        return None


def tell(told: dict[str, Any]) -> None:
    if told["problem"]:
        remark(f"source: {told['problem']}")
    for warning in told.get("warnings", ()):
        remark(f"warning: {warning}")
    found = told["estimate"]
    if found is None:
        remark("How many items there will be is not known, so neither are engine and memory; say it with --items.")
        return
    pairs(
        [
            ("items", f"{found['items']:,}"),
            ("drop", told["drop"]),
            ("engine", found["engine"]),
            ("because", found["reason"]),
            ("params", ", ".join(f"{name}={value}" for name, value in found["params"].items())),
            ("build", f"{bytes_text(found['build_bytes'])} at its peak"),
            ("replica", bytes_text(found["replica_bytes"])),
            ("serving", f"{bytes_text(found['serving_bytes'])}: {_copies(found)}"),
            ("switching", f"{bytes_text(found['switching_bytes'])} while a new version is loaded"),
            ("files", f"{bytes_text(found['stored_bytes'])} of each version"),
        ]
    )
    print()
    rows = [(one["what"], *_amounts(one), "yes" if one["fits"] else "NO") for one in found["shares"]]
    table(("limit", "needed", "left", "of", "fits"), rows, empty="")
    for one in found["shares"]:
        if not one["fits"]:
            remark(f"{one['what']} ({one['name']}) does not fit. {one['remedy']}")


def _copies(found: dict[str, Any]) -> str:
    versions, replicas = found["loaded_versions"], found["replicas"]
    return f"{versions} version{'s' * (versions > 1)} in {replicas} replica{'s' * (replicas > 1)}"


def _amounts(share: dict[str, Any]) -> list[str]:
    write = bytes_text if share["unit"] == "bytes" else count
    return [write(share[name]) for name in ("need", "left", "limit")]
