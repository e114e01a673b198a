"""What the pages show beside their forms: faults with the step that mends them, engine and memory, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.actions import spec_check
from catalog.intents import Intent
from catalog.models import Draft
from common.errors import InvalidArgument
from tenants.models import Tenant
from versions import previews
from versions.previews import Outlook

INTENT_FIELDS = ("name", "source.uri", "source.files")
REVIEW_FIELDS = ("engine", "search", "limits", "replicas", "source.notice", "versions", "guards")
REASON_WORDS: Mapping[str, str] = {
    "bad_line": "lines that are no row",
    "bad_id": "ids that cannot be read",
    "null_vector": "no vector",
    "wrong_dimension": "vectors of another dimension",
    "nan": "vectors with NaN or infinity",
    "zero_norm": "vectors of length 0, which this metric cannot compare",
    "bad_attribute": "attributes that cannot be read",
    "duplicate_id": "ids that stood there before; the first row of an id counts",
}


def outlook(tenant: Tenant, draft: Draft, spec: Mapping[str, Any]) -> Outlook:
    """Of the draft with `spec` as its spec; each fault with the `step` that mends it."""
    items = Intent.from_dict(draft.intent).items
    found = previews.outlook(tenant=tenant, spec=spec, items=items, inspection=draft.inspection)
    faults = [{**fault, "step": step_of(str(fault["field"]))} for fault in found.faults]
    return Outlook(faults, found.estimate)


def step_of(field: str) -> str:
    """The step on whose page a field of the spec is changed."""
    if field.startswith(INTENT_FIELDS):
        return "intent"
    return "review" if field.startswith(REVIEW_FIELDS) else "schema"


def bad_row_verdict(tenant: Tenant, draft: Draft) -> str:
    """Whether so many bad rows would hold a build, in words; empty when there are none."""
    check = (draft.inspection or {}).get("check")
    if not check or not check["bad_rows"]:
        return ""
    percent = 100 * check["bad_rows"] / check["rows"]
    try:
        limit = spec_check(tenant=tenant, spec=draft.spec).guards.max_bad_row_percent
    except InvalidArgument:
        return ""
    told = f"{percent:.3g} % of the rows in the sample are bad; guards.max_bad_row_percent is {limit:g}."
    if percent > limit:
        return f"{told} If the whole drop is like this, its build will be held until somebody overrides it."
    return f"{told} They will be left out and reported."
