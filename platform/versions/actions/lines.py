"""The log of a build: what its steps say while they run, and what people did with it. One function writes it.

A line is a sentence that was written for people: never the output of a child, never a trace, never a setting, so that
nothing secret can get into it. The newest LINES_MAX lines of a build are kept for as long as the build.
"""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from versions.models import BuildLine
from versions.states import LineLevel

LINES_MAX = 300
LINE_CHARACTERS_MAX = 500
# A step that waits is asked again every few seconds; what it says then is kept so often.
WAITING_SECONDS = 30
WAITS = "Waits"


def say(build_id: int, text: str, *, step: str = "", level: LineLevel = LineLevel.INFO) -> None:
    """Appends one line, and lets go of those beyond LINES_MAX. What the last line says is not said again."""
    lines = BuildLine.objects.filter(build_id=build_id).order_by("-pk")
    text = _one_line(text)
    last = lines.first()
    if last is not None and (last.step, last.text) == (step, text):
        return
    BuildLine.objects.create(build_id=build_id, step=step, level=level, text=text)
    if oldest := lines.values_list("pk", flat=True)[LINES_MAX : LINES_MAX + 1].first():
        lines.filter(pk__lte=oldest).delete()


def say_waiting(build_id: int, text: str, *, step: str) -> None:
    """What a step waits for, unless it said so within WAITING_SECONDS."""
    since = timezone.now() - timedelta(seconds=WAITING_SECONDS)
    said = BuildLine.objects.filter(build_id=build_id, step=step, text__startswith=WAITS, at__gt=since)
    if text and not said.exists():
        say(build_id, text if text.startswith(f"{WAITS} ") else f"{WAITS}: {text}", step=step)


def _one_line(text: str) -> str:
    """Without what does not print: a terminal obeys it, and PostgreSQL takes no NUL."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:LINE_CHARACTERS_MAX]
