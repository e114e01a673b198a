"""The wizard's pages. Each step is saved in the draft before the next one is shown: its URL leads back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from catalog.actions import service_create, spec_check
from catalog.actions.drafts import (
    draft_create,
    draft_decide,
    draft_discard,
    draft_intend,
    draft_read_again,
)
from catalog.intents import Intent, remarks, with_blocks
from catalog.models import Draft
from catalog.selectors import draft_get, drafts_of
from catalog.states import DRAFT_UNDER_WAY, DraftState
from common.errors import Conflict, InvalidArgument, QuotaExceeded, RecallError
from console.base import page, tenant_for
from console.wizard.forms import IntentForm, ReviewForm, SchemaForm
from console.wizard.outlook import REASON_WORDS, bad_row_verdict, outlook
from console.wizard.same import Same, same
from tenants.models import Tenant
from tenants.permissions import Caller, Permission
from versions.actions import build_request
from versions.quotas import quota_uses

STEPS = (("intent", "What you want"), ("schema", "What is there"), ("check", "Is it good"), ("review", "Create"))
# All of them: who has too many has to find those that go.
DRAFTS_SHOWN_MAX = 50


@dataclass(frozen=True)
class Turn:
    """One request of somebody who may, about one draft that is still one."""

    request: HttpRequest
    caller: Caller
    tenant: Tenant
    draft: Draft

    def show(self, template: str, **context: Any) -> HttpResponse:
        draft = self.draft
        shared = {
            "tenant": self.tenant,
            "draft": draft,
            "steps": STEPS,
            "under_way": draft.state in DRAFT_UNDER_WAY,
            "unreadable": draft.state == DraftState.UNREADABLE,
        }
        return render(self.request, f"console/wizard/{template}", {**shared, **context})

    def go(self, step: str) -> HttpResponse:
        return redirect(f"console:draft-{step}", self.tenant.name, self.draft.token)

    def now(self, draft: Draft) -> Turn:
        return Turn(self.request, self.caller, self.tenant, draft)


def step(view: Callable[[Turn], HttpResponse]) -> Callable[..., HttpResponseBase]:
    """A page about a draft, for those who may register services; of a draft that is a service now, that one's page."""

    @page
    @wraps(view)
    def shown(request: HttpRequest, tenant: str, draft: str) -> HttpResponse:
        caller, owner = tenant_for(request, tenant, Permission.MANAGE)
        found = draft_get(owner, draft)
        if found.service:
            return redirect("console:service", owner.name, found.service)
        return view(Turn(request, caller, owner, found))

    return shown


@require_http_methods(["GET", "POST"])
@page
def begin(request: HttpRequest, tenant: str) -> HttpResponse:
    """The first step of a draft that is not there yet."""
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    form = IntentForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            draft = draft_create(actor=caller.actor, tenant=owner, intent=form.intent())
        except InvalidArgument as error:
            form.take(error)
        else:
            return redirect("console:draft-schema", owner.name, draft.token)
    drafts = drafts_of(owner)[:DRAFTS_SHOWN_MAX]
    near = [use for use in quota_uses([owner])[owner.pk] if use.warns]
    context = {"tenant": owner, "form": form, "drafts": drafts, "at": "intent", "steps": STEPS, "near": near}
    return render(request, "console/wizard/intent.html", context)


@require_GET
@step
def resume(turn: Turn) -> HttpResponse:
    """The draft's own URL: the step at which it stands."""
    return turn.go("schema")


@require_http_methods(["GET", "POST"])
@step
def intent(turn: Turn) -> HttpResponse:
    request = turn.request
    form = IntentForm(request.POST or None, initial=IntentForm.initial_of(Intent.from_dict(turn.draft.intent)))
    if request.method == "POST" and form.is_valid():
        try:
            return turn.now(draft_intend(draft=turn.draft, intent=form.intent())).go("schema")
        except InvalidArgument as error:
            form.take(error)
    return turn.show("intent.html", at="intent", form=form)


@require_http_methods(["GET", "POST"])
@step
def schema(turn: Turn) -> HttpResponse:
    """What lies there and what is made of it; while a worker looks into it, that."""
    request, draft = turn.request, turn.draft
    if draft.state in DRAFT_UNDER_WAY and draft.inspection is None:
        return turn.show("reading.html", at="schema") if request.method == "GET" else turn.go("schema")
    form = SchemaForm(request.POST or None, draft=draft)
    if request.method == "POST" and form.is_valid():
        turn = turn.now(draft_decide(draft=draft, spec=form.blocks(draft.spec)))
        if not _faults_of_schema(turn, form):
            return turn.go("check")
    said = remarks(Intent.from_dict(draft.intent), draft.inspection) if draft.inspection else []
    shown = _same(turn, turn.draft.spec, build=_has_drop(turn))
    return turn.show("schema.html", at="schema", form=form, remarks=said, same=shown)


@require_GET
@step
def check(turn: Turn) -> HttpResponse:
    if turn.draft.state in DRAFT_UNDER_WAY:
        return turn.show("reading.html", at="check")
    inspection = turn.draft.inspection or {}
    reasons = inspection.get("check", {}).get("reasons", {})
    found = [(REASON_WORDS.get(reason, reason), count) for reason, count in reasons.items()]
    return turn.show(
        "check.html",
        at="check",
        reasons=found,
        verdict=bad_row_verdict(turn.tenant, turn.draft),
        rows=[[row[name] for name in inspection["names"]] for row in inspection.get("sample", [])],
    )


@require_http_methods(["GET", "POST"])
@step
def review(turn: Turn) -> HttpResponse:
    """Engine, memory, and the same in other words; a POST creates the service."""
    form = ReviewForm(turn.request.POST or None, draft=turn.draft)
    left: list[dict[str, Any]] = []
    if turn.request.method == "POST" and form.is_valid():
        turn = turn.now(draft_decide(draft=turn.draft, spec=form.blocks(turn.draft.spec)))
        try:
            return _create(turn, build=form.cleaned_data["build_now"])
        except (InvalidArgument, QuotaExceeded, Conflict) as error:
            if error.reason == "DRAFT_DONE":
                return turn.go("resume")
            left = form.take(error)
    build = form["build_now"].value()
    return turn.show(
        "review.html", at="review", form=form, left=left, **_side(turn, turn.draft.spec, build=bool(build))
    )


@require_POST
@step
def preview(turn: Turn) -> HttpResponse:
    """The side of the page as it would be with what is typed now; nothing is saved."""
    at = turn.request.POST.get("at", "")
    form = (SchemaForm if at == "schema" else ReviewForm)(turn.request.POST, draft=turn.draft)
    if not form.is_valid():
        return turn.show("_not_yet.html", form=form)
    spec = with_blocks(turn.draft.spec, form.blocks(turn.draft.spec))
    if at == "schema":
        return turn.show("_same.html", same=_same(turn, spec, build=_has_drop(turn)))
    return turn.show("_side.html", **_side(turn, spec, build=form.cleaned_data["build_now"]))


@require_GET
@step
def reading(turn: Turn) -> HttpResponse:
    """What a page asks for while it waits; when there is an answer the page is loaded anew."""
    response = turn.show("_reading.html", at="check" if turn.request.GET.get("at") == "check" else "schema")
    if turn.draft.state not in DRAFT_UNDER_WAY:
        response["HX-Refresh"] = "true"
    return response


@require_POST
@step
def read_again(turn: Turn) -> HttpResponse:
    return turn.now(draft_read_again(draft=turn.draft)).go("schema")


@require_POST
@step
def discard(turn: Turn) -> HttpResponse:
    draft_discard(draft=turn.draft)
    messages.success(turn.request, f"The draft of {turn.draft.intent['name']} is gone.")
    return redirect("console:home")


def _faults_of_schema(turn: Turn, form: SchemaForm) -> bool:
    """Whether the spec has faults that this step mends; they stand beside its fields then."""
    try:
        spec_check(tenant=turn.tenant, spec=turn.draft.spec)
    except InvalidArgument as error:
        form.take(error)
    return bool(form.errors)


def _create(turn: Turn, *, build: bool) -> HttpResponse:
    """Registers the service and asks for its first build. A build that cannot be asked for leaves the service."""
    owner, draft = turn.tenant, turn.draft
    service = service_create(actor=turn.caller.actor, tenant=owner, spec=draft.spec, draft=draft)
    if not build:
        return redirect("console:service", owner.name, service.name)
    try:
        made = build_request(actor=turn.caller.actor, service=service, drop=_drop_by_name(draft))
    except RecallError as error:
        messages.error(turn.request, f"The service is registered, but no build could be asked for: {error.message}")
        return redirect("console:service", owner.name, service.name)
    return redirect("console:build", owner.name, service.name, made.number)


def _drop_by_name(draft: Draft) -> str:
    """The drop's name where a build takes it only when it is asked for by that; else the newest complete one."""
    inspection = draft.inspection
    return inspection["drop"] if inspection and not inspection["complete"] else ""


def _has_drop(turn: Turn) -> bool:
    return turn.draft.inspection is not None


def _same(turn: Turn, spec: dict[str, Any], *, build: bool) -> Same:
    return same(
        tenant=turn.tenant.name,
        spec=spec,
        build=build,
        drop=_drop_by_name(turn.draft),
        api_url=turn.request.build_absolute_uri("/api/v1"),
    )


def _side(turn: Turn, spec: dict[str, Any], *, build: bool) -> dict[str, Any]:
    return {"outlook": outlook(turn.tenant, turn.draft, spec), "same": _same(turn, spec, build=build)}
