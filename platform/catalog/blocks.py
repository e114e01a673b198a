"""The blocks of a service's spec, one model each: types, ranges and defaults of CONTRACT section 2.

What a block can say about itself is checked here; what concerns several blocks is checked in `catalog.spec`. Checks of
several fields stand on the later field, so that a fault in one field never hides those of its neighbours.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bundles import uris
from bundles.uris import UriError
from catalog import notices, webhooks
from catalog.block import Block
from catalog.model_blocks import QueryModel
from engines import registry
from tenants.models import NAME_CHARACTERS_MAX as SERVICE_NAME_CHARACTERS_MAX
from tenants.models import is_valid_name

DIMENSION_MAX = 4_096
ATTRIBUTES_MAX = 100
PATTERNS_MAX = 100
NAME_CHARACTERS_MAX = 128
TOP_K_MAX = 10_000
EF_MAX = 10_000
QPS_MAX = 1_000_000
CONCURRENCY_MAX = 10_000
REPLICAS_MAX = 64
VERSIONS_KEPT_MAX = 10
ITEMS_MAX = 1_000_000_000
PERCENT_MAX = 1_000_000
EMAILS_MAX = 20
EMAIL_CHARACTERS_MAX = 254

# What a column or an answer calls something else, and the words of a filter (in either case).
RESERVED_NAMES = frozenset({"id", "vector", "score", "searchable"})
FILTER_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "contains", "contains_any", "true", "false"})
ATTRIBUTE_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
# The columns of a vector in a csv file.
VECTOR_COLUMN_PATTERN = re.compile(r"v[0-9]+", re.ASCII)


def attribute_name_fault(name: str) -> str:
    """What is wrong with a name for an attribute; empty when nothing is."""
    if not ATTRIBUTE_PATTERN.fullmatch(name):
        return "A name has letters, digits and underscores, at most 63, and does not begin with a digit."
    if name.lower() in RESERVED_NAMES | FILTER_WORDS or VECTOR_COLUMN_PATTERN.fullmatch(name):
        return f"{name} is a reserved name. Call the attribute something else."
    return ""


def _check_attribute_name(name: str) -> str:
    if fault := attribute_name_fault(name):
        raise ValueError(fault)
    return name


def _check_name(name: str) -> str:
    if not is_valid_name(name):
        raise ValueError(
            f"Use lower case letters, digits and hyphens, at most {SERVICE_NAME_CHARACTERS_MAX}; start with a letter, "
            "end with a letter or digit."
        )
    return name


# Of a service, and of a group of them.
Name = Annotated[str, AfterValidator(_check_name)]

AttributeType = Literal["string", "int64", "float64", "bool", "list<string>"]


class Attribute(Block):
    """A property of an item that answers carry and filters read."""

    name: Annotated[str, AfterValidator(_check_attribute_name)]
    type: AttributeType
    # What people see instead of the text; `image` takes it for a picture's address. The data plane does not know of it.
    display: Literal["image"] | None = None

    @field_validator("display")
    @classmethod
    def _is_an_address(cls, display: str | None, info: ValidationInfo) -> str | None:
        if display is not None and info.data.get("type", "string") != "string":
            raise ValueError(f"The address of a picture is a string, not {info.data['type']}.")
        return display

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stored: dict[str, Any] = serialize(self)
        return {name: value for name, value in stored.items() if name != "display" or value is not None}


class Schema(Block):
    """What an item is. Copied into each version."""

    id_type: Literal["int64", "string"] = "int64"
    dimension: int = Field(ge=1, le=DIMENSION_MAX)
    metric: Literal["ip", "cosine", "l2"] = "ip"
    normalize: bool = False
    attributes: Annotated[tuple[Attribute, ...], Field(strict=False, max_length=ATTRIBUTES_MAX)] = ()
    query_model: QueryModel | None = None

    @field_validator("attributes")
    @classmethod
    def _names_are_unique(cls, attributes: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
        seen: set[str] = set()
        for position, attribute in enumerate(attributes):
            if attribute.name in seen:
                raise ValueError(f"attributes[{position}] is the second one with the name {attribute.name}.")
            seen.add(attribute.name)
        return attributes


def _check_uri(uri: str) -> str:
    try:
        uris.check_syntax(uri)
    except UriError as error:
        raise ValueError(f"{error.message} {error.remedy}") from error
    return uri


def _check_pattern(pattern: str) -> str:
    if not pattern.isprintable() or not pattern.strip():
        raise ValueError("A pattern has at least one character, and all of them can be printed.")
    if any(part in ("", ".", "..") for part in pattern.split("/")):
        raise ValueError("A pattern names files inside the drop: no leading slash, no `.` or `..` as a part.")
    return pattern


def _check_column(name: str) -> str:
    if not name.isprintable() or not name.strip():
        raise ValueError("A column has a name, and all its characters can be printed.")
    return name


Pattern = Annotated[str, Field(max_length=512), AfterValidator(_check_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(strict=False, min_length=1, max_length=PATTERNS_MAX)]
Column = Annotated[str, Field(max_length=NAME_CHARACTERS_MAX), AfterValidator(_check_column)]


class Columns(Block):
    """What the id and the vector are called in the files."""

    id: Column = "id"
    vector: Column = "vector"

    @field_validator("vector")
    @classmethod
    def _is_another_column(cls, vector: str, info: ValidationInfo) -> str:
        if vector == info.data.get("id"):
            raise ValueError("The vector cannot be in the column of the id.")
        return vector


class Source(Block):
    """Where drops appear, and how one is noticed."""

    uri: Annotated[str, AfterValidator(_check_uri)]
    files: Patterns = ("items-*.parquet", "part-*.parquet")
    columns: Columns = Columns()
    notice: Annotated[str, AfterValidator(notices.check_notice)] = notices.MARKER
    expect_every: Annotated[str, AfterValidator(notices.check_expect_every)] | None = None


class Engine(Block):
    """Which engine builds and searches, with its own parameters, which `catalog.spec` checks."""

    name: str = registry.AUTO
    partitions: int = Field(default=1, ge=1, le=registry.PARTITIONS_MAX)
    params: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_is_short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Search(Block):
    """The effort of a search: tuned to a recall target, or fixed parameters."""

    recall_target: float | None = Field(default=0.98, gt=0, le=1)
    # The number of neighbours at which recall is measured.
    at: int = Field(default=100, ge=1, le=TOP_K_MAX)
    params: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _fixed_has_no_target(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("params") is not None:
            return {"recall_target": None, **value}
        return value

    @field_validator("params")
    @classmethod
    def _is_one_of_two(cls, params: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        target = info.data.get("recall_target", 0)
        if params is not None and target:
            raise ValueError("Give either recall_target or fixed params.")
        if params is None and target is None:
            raise ValueError("Give recall_target or fixed params.")
        return params


Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
GrowthPercent = Annotated[float, Field(ge=0, le=PERCENT_MAX)]
Items = Annotated[int, Field(ge=0, le=ITEMS_MAX)]


class Guards(Block):
    """What a drop and its index must meet, else the build is held. Null: no such guard."""

    min_items: Items = 1
    max_items: Items | None = None
    max_drop_percent: Percent | None = 20
    max_drop_items: Items | None = None
    max_growth_percent: GrowthPercent | None = 300
    max_growth_items: Items | None = None
    max_bad_row_percent: Percent = 1
    min_id_overlap_percent: Percent | None = 50
    max_norm_drift_percent: GrowthPercent | None = 50
    min_recall: Share = 0.95
    min_overlap_at_k: Share | None = None
    max_score_drift_percent: GrowthPercent | None = None
    max_p99_ratio: float | None = Field(default=1.3, gt=0, le=1_000)
    p99_floor_ms: float = Field(default=5, ge=0, le=60_000)

    @field_validator("max_items")
    @classmethod
    def _is_not_below_min(cls, max_items: int | None, info: ValidationInfo) -> int | None:
        min_items = info.data.get("min_items")
        if max_items is not None and min_items is not None and max_items < min_items:
            raise ValueError(f"max_items is {max_items:,}, below min_items, {min_items:,}.")
        return max_items


class Versions(Block):
    """How many stay, and how a new one goes live. Services of one tenant with the same `group` move together."""

    keep: int = Field(default=2, ge=1, le=VERSIONS_KEPT_MAX)
    standby: Literal["hot", "cold"] = "hot"
    activate: Literal["auto", "on_approval"] = "auto"
    rollout: Literal["together", "zone_by_zone"] = "together"
    group: Name | None = None


class Replicas(Block):
    """On how many nodes a version is loaded."""

    count: int = Field(default=1, ge=1, le=REPLICAS_MAX)
    zones: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Limits(Block):
    """For the whole service, divided among gateways; a batch counts its queries."""

    qps: int = Field(default=1_000, ge=1, le=QPS_MAX)
    concurrency: int = Field(default=64, ge=1, le=CONCURRENCY_MAX)
    max_top_k: int = Field(default=1_000, ge=1, le=TOP_K_MAX)
    max_ef: int = Field(default=2_000, ge=1, le=EF_MAX)
    allow_exact: bool = False


def _check_email(address: str) -> str:
    try:
        validate_email(address)
    except ValidationError as error:
        raise ValueError(f"This is no e-mail address: {address!a}.") from error
    return address


Webhook = Annotated[str, AfterValidator(webhooks.check_form)]
Email = Annotated[str, Field(max_length=EMAIL_CHARACTERS_MAX), AfterValidator(_check_email)]


class Notify(Block):
    """Who hears of alerts. Which hosts a webhook may have, the platform's settings say; `catalog.actions` checks it."""

    webhook: Webhook | None = None
    email: Annotated[tuple[Email, ...], Field(strict=False, max_length=EMAILS_MAX)] = ()
