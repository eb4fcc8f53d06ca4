"""Tables without lines: text to the left, numbers to the right, and nothing cut off."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def new_table(
    header: Sequence[str], texts: Collection[int] = (0,), *, indented: bool = False
) -> Table:
    """A table without rows.

    Args:
        header: Titles of the columns.
        texts: Places of the columns that are text; the others are numbers.
        indented: Two spaces before the first column.
    """
    from rich.table import Table

    padding = (0, 2) if indented else (0, 2, 0, 0)
    table = Table(box=None, pad_edge=indented, padding=padding, header_style="bold cyan")
    for i, title in enumerate(header):
        table.add_column(title, justify="left" if i in texts else "right", no_wrap=True)
    return table


def print_whole(console: Console, table: Table, least: int | None = None) -> None:
    """Print a table as wide as its cells are: a narrow terminal wraps lines, and nothing is cut.

    Args:
        console: Where.
        table: The table.
        least: Where columns of it wrap: it is as wide as the terminal, or this at least.
    """
    widest = console.measure(table, options=console.options.update(width=1000)).maximum
    table.width = widest if least is None else min(widest, max(console.width, least))
    console.print(table)
