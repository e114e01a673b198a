"""How the demo tells what it does: a line for each step with the time it took, a table for an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli.builds import step_line

if TYPE_CHECKING:
    from rich.console import Console

TEXT_WIDTH = 68


class Story:
    """Writes to `console`; on a terminal a step under way moves."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A part of the demo: moving while it goes on, ticked off with its time when it is done."""
        step = Step(title)
        begin = time.monotonic()
        with self._console.status(title) as status:
            step.on_change = status.update
            try:
                yield step
            except BaseException:
                self._line("[red]✗[/]", step.title, begin)
                raise
        self._line("[green]✓[/]", step.title, begin)

    def chapter(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]")

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", soft_wrap=True)

    def answer(self, rows: Sequence[tuple[Any, str, float]], *, like: str) -> None:
        """Items with category and score; the category that was asked with stands out."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", justify="right")
        table.add_column("item", justify="right")
        table.add_column("category")
        table.add_column("cosine", justify="right")
        for rank, (item, category, score) in enumerate(rows, 1):
            shown = f"[green]{category}[/]" if category == like else f"[yellow]{category}[/]"
            table.add_row(str(rank), str(item), shown, f"{score:.4f}")
        self._console.print()
        self._console.print(table)
        self._console.print()

    def _line(self, mark: str, title: str, begin: float) -> None:
        took = f"{time.monotonic() - begin:.1f} s"
        self._console.print(f"{mark} {title:<{TEXT_WIDTH}} [dim]{took:>7}[/]", soft_wrap=True)


class Step:
    """`title` may change while the step goes on."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.on_change: Callable[[str], None] = lambda _text: None

    def follow(self, build: dict[str, Any]) -> None:
        """Shows the step that a build is in."""
        under_way = [one for one in build["steps"] if one["state"] == "RUNNING"]
        self.on_change(f"{self.title}: {step_line(under_way[0])}" if under_way else self.title)
