"""A name at the instance for the collection that is live, for people with other tools; nothing of ours relies on it.

A switch of the platform is a pointer of its own, before and without this, and aliases follow it when they can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from engines.base import ServiceName
from engines.errors import EngineError, EngineUnavailable, IndexUnreadable
from engines.milvus.connection import CALL_SECONDS_MAX, Instance
from engines.milvus.instances import SettingWrong, configured
from engines.milvus.reachable import Reachable, in_any_order
from engines.milvus.reference import Reference, references_in

# Names of tenants and services are lower case, digits and hyphens. An instance takes no hyphens, but capitals: so a
# hyphen becomes what no name has, and a capital tells where a name begins. Neither loses anything.
TENANT, SERVICE = "T_", "_S_"
PREFIX: Final = "recall_"


def alias_of(service: ServiceName) -> str:
    """`recall_T_films_S_movie_night` of films/movie-night; no two services have the same, and no collection has it."""
    tenant, name = (each.replace("-", "_") for each in service)
    return f"{PREFIX}{TENANT}{tenant}{SERVICE}{name}"


def keep(live: Mapping[ServiceName, Path | None]) -> dict[ServiceName, str]:
    """As `engines.base.IndexAliaser` says."""
    try:
        names = in_any_order(configured())
    except SettingWrong as error:
        return dict.fromkeys(live, str(error))
    reachable = Reachable()
    left: dict[ServiceName, str] = {}
    for service, folder in live.items():
        errors = _kept(alias_of(service), _reference(folder), names, reachable)
        if errors:
            left[service] = "; ".join(errors)
    return left


def _reference(folder: Path | None) -> Reference | None:
    """None also for an index in several collections: one of them alone would pass for the whole."""
    try:
        references = references_in(folder) if folder is not None else []
    except IndexUnreadable:
        return None  # What cannot be searched has no name, either.
    return references[0] if len(references) == 1 else None


def _kept(alias: str, live: Reference | None, names: Sequence[str], reachable: Reachable) -> list[str]:
    """What keeps instances from it; each does its part whatever befalls the others."""
    errors: list[str] = []
    for name in names:
        try:
            with reachable.at(name) as where:
                if live is not None and live.instance == name:
                    _point(where, alias, live.collection)
                else:
                    # Nothing happens where there is no such alias.
                    where.tell(lambda client: client.drop_alias(alias, timeout=CALL_SECONDS_MAX))
        except EngineError as error:
            errors.append(error.message)
    return errors


def _point(where: Instance, alias: str, collection: str) -> None:
    try:
        where.tell(lambda client: client.create_alias(collection, alias, timeout=CALL_SECONDS_MAX))
    except EngineUnavailable:
        raise
    except EngineError:
        # There is one: servers tell so in different ways.
        where.tell(lambda client: client.alter_alias(collection, alias, timeout=CALL_SECONDS_MAX))
