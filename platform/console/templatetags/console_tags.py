"""Numbers and times as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml
from django import template
from django.forms import BoundField, CheckboxInput, Select
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from common import texts
from console.cli_lines import cli_line
from versions.subjects import build_number_in

register = template.Library()

NOTHING = "–"
CELL_ENTRIES_MAX = 6

# What a state means to who looks: all is well, something is under way, somebody should look, it is broken.
TONES = {
    "green": ("succeeded", "done", "ready", "live", "complete", "resolved", "pass", "ok", "sent", "active"),
    "blue": ("pending", "running", "building", "loading", "wanted", "info"),
    "amber": ("held", "acknowledged", "warning", "warn", "lagging", "slow", "stale", "replaced", "near"),
    "red": ("failed", "wrong", "critical", "open", "hold", "frozen", "bad", "revoked", "error", "full"),
}
TONE_OF = {state: tone for tone, states in TONES.items() for state in states}
# Largest unit first, with the number of seconds that it is worth.
SIZES = ((1e9, 2, "GB"), (1e6, 1, "MB"), (1e3, 1, "kB"))
AGES = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@register.filter
def tone(state: str) -> str:
    """The colour of a state; grey for one that is neither good nor bad."""
    return TONE_OF.get(state.lower(), "grey")


@register.simple_tag
def badge(state: str, text: str = "") -> SafeString:
    """A state as a label in its colour."""
    return format_html('<span class="badge tone-{}">{}</span>', tone(state), text or state.lower())


@register.simple_tag
def dot(state: str) -> SafeString:
    """A state as a dot in its colour, and its name."""
    shape = '<span class="text-nowrap"><span class="dot tone-{}"></span> {}</span>'
    return format_html(shape, tone(state), state.lower())


@register.simple_tag(takes_context=True)
def here(context: dict[str, Any], *names: str) -> SafeString | str:
    """Marks the link of the part of the console in which the page is."""
    match = getattr(context.get("request"), "resolver_match", None)
    is_here = match is not None and any(str(match.url_name).startswith(name) for name in names)
    return SafeString('aria-current="page"') if is_here else ""


@register.simple_tag
def cli(name: str, **values: Any) -> SafeString:
    """What an action is called in a shell, with a button that copies it."""
    line = cli_line(name, **values)
    shape = (
        '<div class="cli"><code data-cli>{}</code>'
        '<button type="button" class="btn btn-sm" data-copy aria-label="Copy the command">Copy</button></div>'
    )
    return format_html(shape, line)


@register.simple_tag
def cli_words(name: str, **values: Any) -> SafeString:
    """The same within a sentence, which is no place for a button."""
    return format_html("<code data-cli>{}</code>", cli_line(name, **values))


@register.filter
def control(field: BoundField) -> SafeString:
    """A form's field in the look of the console, tied to its hint; with its first value if the form asks for that."""
    widget = field.field.widget
    look = "form-control"
    if isinstance(widget, Select):
        look = "form-select"
    elif isinstance(widget, CheckboxInput):
        look = "form-check-input"
    wrong = " is-invalid" if field.errors else ""
    shown = field.as_widget(attrs={"class": look + wrong})
    return shown + field.as_hidden(only_initial=True) if field.field.show_hidden_initial else shown


# What a filter on an attribute of each type may look like.
EXAMPLE_ATTRIBUTES, EXAMPLE_OF_LISTS = 2, "{} contains 'word'"
EXAMPLES = {"string": "{} = 'word'", "int64": "{} >= 1", "float64": "{} >= 0.5", "bool": "{} = true"}


@register.filter
def example_filter(schema: Mapping[str, Any]) -> str:
    """A filter over the first attributes of this schema, which the schema allows."""
    attributes = schema.get("attributes", [])[:EXAMPLE_ATTRIBUTES]
    shapes = [EXAMPLES.get(each["type"], EXAMPLE_OF_LISTS).format(each["name"]) for each in attributes]
    return " and ".join(shapes)


@register.filter
def size(count: float | str | None) -> str:
    """A number of bytes in decimal units, as the steps of a build write it: 1.26 GB, 177 MB."""
    if count is None or count == "":
        return NOTHING
    number = float(count)
    return next((f"{number / of:,.{places}f} {unit}" for of, places, unit in SIZES if number >= of), f"{number:.0f} B")


@register.filter
def age(when: datetime | str | None) -> str:
    """How long ago, in its largest unit: 3 h."""
    parsed = _time(when)
    if parsed is None:
        return NOTHING
    seconds = max(0, int((timezone.now() - parsed).total_seconds()))
    return next((f"{seconds // size} {unit}" for unit, size in AGES if seconds >= size), "0 s")


@register.filter
def until(when: datetime) -> str:
    """How long until then, in its largest unit: in 3 h; and how long ago when it is over."""
    seconds = int((when - timezone.now()).total_seconds())
    if seconds < 0:
        return f"{age(when)} ago"
    return next((f"in {seconds // size} {unit}" for unit, size in AGES if seconds >= size), "now")


@register.filter
def build_number(subject: str) -> int | None:
    """12 of "build 12", which is what an alert is about when it is about a build."""
    return build_number_in(subject)


@register.filter
def grouped(number: float | str | None) -> str:
    """1234567 -> 1,234,567. What is not there at all (a template's empty text) is nothing, like None."""
    return NOTHING if number is None or number == "" else f"{float(number):,.0f}"


@register.filter
def decimals(number: float | str | None, places: int) -> str:
    """With so many of them; what is not there at all is nothing, like None."""
    return NOTHING if number is None or number == "" else f"{float(number):.{places}f}"


@register.filter
def figure(number: float | str | None) -> str:
    """As `common.texts.figure`; what is told in words stays as it is."""
    if number is None or isinstance(number, str):
        return number or NOTHING
    return texts.figure(number)


@register.filter
def cell(value: Any) -> str:
    """A value of a drop in a table: a list by its first entries, which is all that an inspection keeps of a vector."""
    if not isinstance(value, list):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    shown = ", ".join(map(cell, value[:CELL_ENTRIES_MAX]))
    return f"{shown}, …" if len(value) > CELL_ENTRIES_MAX else shown


@register.filter
def entry(values: dict[str, Any], name: str) -> Any:
    """`values[name]`, for a name that only data knows."""
    return values.get(name)


@register.filter
def pairs(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """The entries of a dict whose names only data knows: `values.items` in a template is `values["items"]` first."""
    return list(values.items())


@register.filter
def is_chosen(point: dict[str, Any], tune: dict[str, Any]) -> bool:
    """Whether this point of the curve is the effort that the version searches with."""
    return all(point.get(name) == value for name, value in tune["search_params"].items())


@register.filter
def milliseconds(microseconds: float | str | None) -> str:
    return NOTHING if microseconds is None else f"{float(microseconds) / 1000:.2f} ms"


@register.filter
def moment(when: datetime | str | None) -> str:
    """A time with its zone, to the second."""
    parsed = _time(when)
    return NOTHING if parsed is None else f"{localtime(parsed):%Y-%m-%d %H:%M:%S %Z}"


@register.filter
def clock(when: datetime) -> str:
    """The time of day, to the second."""
    return f"{localtime(when):%H:%M:%S}"


@register.filter
def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@register.filter
def rate(step: dict[str, Any]) -> str:
    """Rows a second, or what else the step counts: its detail ends with the unit."""
    unit = str(step["detail"]).rpartition(" ")[2] if step["state"] == "RUNNING" else ""
    return f"{size(step['rate'])}/s" if unit == "bytes" else f"{grouped(step['rate'])} rows/s"


@register.filter
def duration(seconds: float) -> str:
    """75 -> 1 min 15 s; 5400 -> 1 h 30 min; the two largest units."""
    left = round(seconds)
    place = next((place for place, (_, size) in enumerate(AGES) if left >= size), len(AGES) - 1)
    unit, size = AGES[place]
    if place == len(AGES) - 1:
        return f"{left} {unit}"
    next_unit, next_size = AGES[place + 1]
    return f"{left // size} {unit} {left % size // next_size} {next_unit}"


@register.filter
def took(started: datetime | str | None, ended: datetime | str | None) -> str:
    begin, end = _time(started), _time(ended)
    if begin is None or end is None:
        return ""
    seconds = (end - begin).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


@register.filter
def as_yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text


@register.filter
def seconds(value: float | None) -> str:
    """0.42 -> 0.4 s, and from a minute on 1 min 15 s."""
    if value is None:
        return NOTHING
    return f"{value:.1f} s" if value < 60 else duration(value)


@register.filter
def setting(value: Any) -> str:
    """A value of a spec, as people write it."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _time(when: datetime | str | None) -> datetime | None:
    return parse_datetime(when) if isinstance(when, str) else when
