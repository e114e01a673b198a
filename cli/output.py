"""How commands speak: data to stdout, everything else to stderr, and one JSON value on stdout with --json."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
BYTE_UNITS = ("KiB", "MiB", "GiB", "TiB")


def _json_asked(context: typer.Context, asked: bool) -> bool:
    """Behind the command, or before it."""
    return asked or bool(context.find_root().params.get("as_json"))


Json = Annotated[bool, typer.Option("--json", callback=_json_asked, help="One JSON value on stdout, for programs.")]


def console(*, stderr: bool = False) -> Console:
    """stdout is for tables and results, stderr for progress and remarks. Wide when nobody looks: lines stay whole."""
    from rich.console import Console

    looked_at = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if looked_at else PIPE_WIDTH)


def remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(data: Any, *, as_json: bool, human: Callable[[], None]) -> None:
    """Prints `data` as one line of JSON, or lets `human` print it."""
    if as_json:
        print(json.dumps(data, default=str), flush=True)
    else:
        human()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table on stdout; `empty` is said on stderr when there are no rows."""
    from rich import box
    from rich.table import Table

    lines = [[_cell(value) for value in row] for row in rows]
    if not lines:
        remark(empty)
        return
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for line in lines:
        shown.add_row(*line)
    console().print(shown)


def pairs(values: Iterable[tuple[str, Any]]) -> None:
    """One `name  value` a line, aligned."""
    known = [(name, value) for name, value in values if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        print(f"{name:<{width}}  {_text(value)}")


def bytes_text(count: int) -> str:
    """1536 -> 1.5 KiB."""
    power = max(0, min(len(BYTE_UNITS), (count.bit_length() - 1) // 10))
    return f"{count / 1024**power:.1f} {BYTE_UNITS[power - 1]}" if power else f"{count} B"


def moment(text: str | None) -> str:
    """2026-11-21T23:47:35.167157Z -> 2026-11-21 23:47:35"""
    return (text or "").partition(".")[0].removesuffix("Z").replace("T", " ")


def _cell(value: Any) -> str:
    from rich.markup import escape

    return "–" if value is None else escape(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def count(number: int | None) -> str:
    """12345 -> 12,345"""
    return "–" if number is None else f"{number:,}"
