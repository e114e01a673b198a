"""A service's spec as one object: CONTRACT section 2, every default filled in, every fault reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from catalog import blocks
from catalog.block import Block
from catalog.faults import FAULTS_MAX, Fault, Loc, faults_of, field_names, models_by_field, printable
from common.errors import InvalidArgument
from engines import registry

FAULTS_IN_MESSAGE_MAX = 3

BlockT = TypeVar("BlockT", bound=Block)
# What a caller of `parse_spec` objects to in a source and in who is notified; None is one that is not right in itself.
AddressFaults = Callable[[blocks.Source | None, blocks.Notify | None], Iterator[Fault]]

# Fields of the contract that this release does not serve yet, and the values that mean nothing more than it does.
# A spec written to the contract is taken when it leaves them at these values.
NOT_YET: Mapping[str, tuple[Any, ...]] = {
    "versions.rollout": ("together",),
    "replicas.zones": ([], ()),
}


class ServiceSpec(Block):
    """What a service is asked to be. `schema_` is written `schema`; engine and search parameters are complete."""

    name: blocks.Name
    schema_: blocks.Schema = Field(alias="schema")
    source: blocks.Source
    engine: blocks.Engine = blocks.Engine()
    search: blocks.Search = blocks.Search()
    guards: blocks.Guards = blocks.Guards()
    versions: blocks.Versions = blocks.Versions()
    replicas: blocks.Replicas = blocks.Replicas()
    limits: blocks.Limits = blocks.Limits()
    notify: blocks.Notify = blocks.Notify()

    def stored(self) -> dict[str, Any]:
        """What `Service.spec` holds: everything but the name, as JSON types."""
        return self.model_dump(mode="json", exclude={"name"})


def in_order(spec: Mapping[str, Any], model: type[BaseModel] = ServiceSpec) -> dict[str, Any]:
    """A spec as people write it: its fields in the order of the contract, which a database does not keep."""
    inner = models_by_field(model)
    names = [name for name in field_names(model) if name in spec]
    return {
        name: in_order(spec[name], inner[name]) if name in inner and isinstance(spec[name], Mapping) else spec[name]
        for name in names
    }


def _nothing_else(_source: blocks.Source | None, _notify: blocks.Notify | None) -> Iterator[Fault]:
    yield from ()


def parse_spec(data: object, also: AddressFaults = _nothing_else) -> ServiceSpec:
    """`data` (JSON types) as a checked spec with every default filled in.

    Raises InvalidArgument with one {field, message} for each fault, at most FAULTS_MAX, those that `also` yields among
    them; and what `also` raises.
    """
    if not isinstance(data, Mapping):
        raise InvalidArgument("A spec is an object with the fields name, schema and source.", reason="INVALID_SPEC")
    raw = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    faults = list(_take_not_yet(raw))
    try:
        spec = ServiceSpec.model_validate(raw)
    except ValidationError as error:
        faults += faults_of(error, ServiceSpec, root=ServiceSpec)
        faults += _faults_between_blocks(raw)
        faults += also(_alone(blocks.Source, raw, "source"), _alone(blocks.Notify, raw, "notify"))
        raise invalid(faults) from error
    faults += _faults_between_blocks(raw)
    faults += also(spec.source, spec.notify)
    if faults:
        raise invalid(faults)
    return _completed(spec)


def _take_not_yet(raw: dict[Any, Any]) -> Iterator[Fault]:
    """Faults of fields that are not served yet; takes them out of `raw`, so that each is reported once."""
    for path, allowed in NOT_YET.items():
        block, _, field = path.partition(".")
        given = raw.get(block)
        if not isinstance(given, dict) or field not in given or given[field] in allowed:
            continue
        del given[field]
        choices = " or ".join(dict.fromkeys(_as_json(value) for value in allowed))
        yield {"field": path, "message": f"This is not available in this release. Leave it out, or write {choices}."}


def _as_json(value: Any) -> str:
    return "null" if value is None else "[]" if value in ([], ()) else str(value)


def _faults_between_blocks(raw: dict[Any, Any]) -> Iterator[Fault]:
    """What blocks that are right in themselves object to in one another."""
    schema, engine = _alone(blocks.Schema, raw, "schema"), _alone(blocks.Engine, raw, "engine")
    search, limits = _alone(blocks.Search, raw, "search"), _alone(blocks.Limits, raw, "limits")
    guards = _alone(blocks.Guards, raw, "guards")
    if engine is not None:
        yield from _engine_faults(engine, schema)
    if search is not None and engine is not None and _is_engine(engine.name):
        yield from _search_params_faults(search, _engine_of_many(engine, schema), limits)
    if search is not None and guards is not None:
        yield from _recall_faults(search, guards)


def _alone(model: type[BlockT], raw: dict[Any, Any], key: str) -> BlockT | None:
    try:
        return model.model_validate(raw.get(key, {}))
    except ValidationError:
        return None  # Its faults are reported with those of the whole.


def _engine_faults(engine: blocks.Engine, schema: blocks.Schema | None) -> Iterator[Fault]:
    if not _is_engine(engine.name):
        yield {"field": "engine.name", "message": _no_such_engine(engine.name)}
        return
    if engine.name == registry.AUTO:
        if engine.params:
            message = "Name an engine to give it parameters; auto chooses one by the number of items."
            yield {"field": "engine.params", "message": message}
        return
    description = registry.describe(engine.name)
    if lack := description.lacks():
        yield {"field": "engine.name", "message": f"The engine {engine.name} cannot be chosen: {lack}"}
    faults = list(_param_faults(description.params_model, engine.params, ("engine", "params")))
    yield from faults
    if schema is not None and not faults:
        for fault in description.param_faults(schema.dimension, _filled(description.params_model, engine.params)):
            yield {"field": f"engine.params.{fault.param}", "message": fault.message}
    if schema is not None and schema.metric not in description.metrics:
        message = f"The engine {engine.name} knows {', '.join(description.metrics)}, not {schema.metric}."
        yield {"field": "schema.metric", "message": message}


def _is_engine(name: str) -> bool:
    return name == registry.AUTO or name in registry.names()


def _no_such_engine(name: str) -> str:
    known = [registry.AUTO, *registry.names()]
    near = difflib.get_close_matches(name, known, n=1)
    question = f" Did you mean {near[0]}?" if near else ""
    return f"There is no engine {printable(name)}; there are {', '.join(known)}.{question}"


def _search_params_faults(search: blocks.Search, engine: str, limits: blocks.Limits | None) -> Iterator[Fault]:
    if search.params is None:
        return
    model = registry.describe(engine).search_params_model
    faults = list(_param_faults(model, search.params, ("search", "params")))
    yield from faults
    ef = None if faults else _filled(model, search.params).get("ef")
    if limits is not None and ef is not None and ef > limits.max_ef:
        yield {"field": "search.params.ef", "message": f"ef is {ef:,}, above limits.max_ef, {limits.max_ef:,}."}


def _engine_of_many(engine: blocks.Engine, schema: blocks.Schema | None) -> str:
    """The engine's name; of `auto`, that of the engine which large versions get: search parameters are kept for it."""
    if engine.name != registry.AUTO:
        return engine.name
    return registry.largest(filterable=schema is not None and bool(schema.attributes))


def _recall_faults(search: blocks.Search, guards: blocks.Guards) -> Iterator[Fault]:
    if search.recall_target is not None and guards.min_recall > search.recall_target:
        message = (
            f"min_recall is {guards.min_recall}, above search.recall_target, {search.recall_target}: every build "
            "would be held. Raise the target or lower min_recall."
        )
        yield {"field": "guards.min_recall", "message": message}


def _param_faults(model: type[BaseModel], params: dict[str, Any], above: Loc) -> Iterator[Fault]:
    try:
        model.model_validate(params, strict=True)
    except ValidationError as error:
        yield from faults_of(error, model, above=above, root=ServiceSpec)


def invalid(faults: list[Fault]) -> InvalidArgument:
    """The error that tells of these faults, in the order of a spec's blocks."""
    order = field_names(ServiceSpec)
    block_of = [str(fault["field"]).partition(".")[0] for fault in faults]
    ranks = [order.index(block) if block in order else len(order) for block in block_of]
    ordered = [fault for _, fault in sorted(zip(ranks, faults, strict=True), key=lambda pair: pair[0])]
    shown = " ".join(f"{fault['field']}: {fault['message']}" for fault in ordered[:FAULTS_IN_MESSAGE_MAX])
    more = f" (and {len(ordered) - FAULTS_IN_MESSAGE_MAX} more)" if len(ordered) > FAULTS_IN_MESSAGE_MAX else ""
    return InvalidArgument(shown + more, reason="INVALID_SPEC", field=ordered[0]["field"], details=ordered[:FAULTS_MAX])


def _completed(spec: ServiceSpec) -> ServiceSpec:
    """With the defaults of the engine's own parameters."""
    engine, search = spec.engine, spec.search
    if engine.name != registry.AUTO:
        engine = engine.model_copy(
            update={"params": _filled(registry.describe(engine.name).params_model, engine.params)}
        )
    if search.params is not None:
        model = registry.describe(_engine_of_many(engine, spec.schema_)).search_params_model
        search = search.model_copy(update={"params": _filled(model, search.params)})
    return spec.model_copy(update={"engine": engine, "search": search})


def _filled(model: type[BaseModel], params: dict[str, Any]) -> dict[str, Any]:
    return model.model_validate(params, strict=True).model_dump(mode="json")
