"""What a person sees where there is no page, and where one failed in a way nobody foresaw."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

TEMPLATE = "console/error.html"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  (Django names it)
    """The 404 of a path that is no page; what is not there (or not one's own) has `console.base.page` say so."""
    context = {"title": "Not found", "error": {"message": "There is no such page."}, "request_id": _id(request)}
    return render(request, TEMPLATE, context, status=404)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001  (Django names it)
    """The 403 of a form whose page was opened under an earlier sign-in, or that comes from somewhere else."""
    message = (
        "Nothing was changed: the page was opened before you signed in (again), or the form came from another site. "
        "Go back, reload the page, and press again."
    )
    context = {"title": "Not sent", "error": {"message": message}, "request_id": _id(request)}
    return render(request, TEMPLATE, context, status=403)


def failed(request: HttpRequest) -> HttpResponse:
    """The 500. It is drawn without the request: who is signed in is in the database, which may be what failed."""
    message = "Something failed that should not. Nothing of yours is wrong; the platform's log tells what happened."
    context = {"title": "That failed", "error": {"message": message}, "request_id": _id(request)}
    return HttpResponse(render_to_string(TEMPLATE, context), status=500)


def _id(request: HttpRequest) -> str:
    return str(request.META.get("recall.request_id", ""))
