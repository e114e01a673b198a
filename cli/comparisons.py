"""Two versions side by side, as `recall compare` waits for them and tells them."""

from __future__ import annotations

import time
from typing import Any

from cli.api import Api, Json
from cli.output import bytes_text, count, moment, remark, table

POLL_SECONDS = 0.5
# A worker takes seconds, and at most five minutes, once it is at it.
WAIT_SECONDS_MAX = 600
SAMPLE_SHOWN = 5


def await_comparison(api: Api, path: str, *, wait: bool) -> Json:
    """The comparison once nothing more is to come, or what is known when time is up."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        compared = api.get(path)
        if compared["final"] or not wait or time.monotonic() > until:
            return compared
        time.sleep(POLL_SECONDS)


def tell_comparison(compared: Json) -> None:
    """Tables on stdout; what could not be compared, and why, on stderr."""
    columns = ("", f"version {compared['version']}", f"version {compared['to']}", "difference")
    made = compared["completed_at"]
    rows = [_figure(each) for each in compared["figures"]]
    rows.append(("complete", moment(made["value"]), moment(made["to"]), ""))
    table(columns, [*rows, *_answers(compared["answers"])], empty="")
    print()
    table(("items", "count", "for example"), _items(compared["items"]), empty="The items are not compared (yet).")
    print()
    differing = [each for each in compared["parameters"] if each["differs"]]
    changed = [(f"schema.{each['name']}", each["value"], each["to"]) for each in compared["schema"]]
    changed += [(each["name"], each["value"], each["to"]) for each in differing]
    table(("changed", *columns[1:3]), changed, empty="Schema, engine and parameters are the same.")
    print()
    steps = [(each["name"], each["value"], each["to"]) for each in compared["steps"]]
    table(("seconds of step", *columns[1:3]), steps, empty="How long the steps took is not known.")
    _remark(compared)


def _figure(figure: Json) -> tuple[Any, ...]:
    show = bytes_text if figure["name"] == "bytes" else _number
    more = figure["difference"]
    sign = "" if not more else "+" if more > 0 else "-"
    cells = [None if figure[name] is None else show(figure[name]) for name in ("value", "to")]
    return (figure["name"], *cells, "" if more is None else f"{sign}{show(abs(more))}")


def _number(value: float) -> str:
    return count(int(value)) if float(value).is_integer() else f"{value:.4g}"


def _answers(answers: Json | None) -> list[tuple[Any, ...]]:
    if answers is None:
        return []
    drift = answers["score_drift_percent"]
    mean = ("mean score", answers["mean_score"], answers["to_mean_score"], "" if drift is None else f"{drift:+.3g} %")
    return [
        (f"overlap at {answers['at']}", f"{answers['overlap']:.4f}", "", answers["measured"]),
        *([mean] if answers["mean_score"] is not None else []),
    ]


def _items(items: Json | None) -> list[tuple[Any, ...]]:
    if items is None:
        return []
    samples = items["samples"]
    return [
        (name, count(items[name]), ", ".join(samples.get(name, [])[:SAMPLE_SHOWN]))
        for name in ("added", "removed", "kept")
    ]


def _remark(compared: Json) -> None:
    for note in compared["notes"]:
        remark(note)
    if error := compared["error"]:
        again = f" It can be tried again at {moment(error['again_at'])} UTC." if error["again_at"] else ""
        remark(f"Items and answers could not be compared: {error['message']} ({error['reason']}).{again}")
    if not compared["final"]:
        remark("Items and answers are being compared: ask again.")
