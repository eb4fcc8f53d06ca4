"""What a person sees of a run: lines, the facts at its beginning, and one line of progress."""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from movinet.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
#: Columns of the labels of facts, and of the longest lines; longer ones are hard to read.
_LABEL, _LONGEST = 11, 100
#: Columns of the bar.
_BAR = 10


class Messages:
    """Lines for people, on stderr; of the main process only.

    Args:
        enabled: Whether this process writes files and lines.
        quiet: Whether the lines are for nobody.
    """

    def __init__(self, *, enabled: bool, quiet: bool = False) -> None:
        from rich.console import Console

        self.enabled, self.quiet = enabled, quiet
        self._said: set[tuple[str, str]] = set()
        self.console: Console = Console(
            stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True
        )

    @property
    def shown(self) -> bool:
        """Whether somebody reads them."""
        return self.enabled and not self.quiet

    def say(self, kind: str, message: str) -> None:
        """Write ``note: ...`` or ``warning: ...``, each only once in a run."""
        from rich.text import Text

        if self.shown and (kind, message) not in self._said:
            self._said.add((kind, message))
            self.console.print(Text.assemble((f"{kind}: ", _STYLES[kind]), printable(message)))

    def line(self, text: str) -> None:
        """Write a plain line."""
        if self.shown:
            self.console.print(text, markup=False)

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        """Write labelled facts, wrapped at words."""
        from rich.text import Text

        width = max(20, min(self.console.width, _LONGEST) - _LABEL - 3)
        for label, text in rows if self.shown else ():
            first, *more = textwrap.wrap(printable(text), width, break_on_hyphens=False) or [""]
            self.console.print(Text.assemble((f"  {label:{_LABEL}}", "dim"), first))
            for line in more:
                self.console.print(" " * (2 + _LABEL) + line)


class ProgressLine:
    """One line at the bottom of a terminal that never wraps: steps, a bar, the latest figures.

    Args:
        console: The terminal.
        total: Updates of the whole run.
        step: Updates made before.
    """

    def __init__(self, console: Console, total: int, step: int) -> None:
        self._console, self._total, self._step = console, total, step
        self._figures: Sequence[str] = ()
        self._evaluated: tuple[int, int] | None = None
        self._live: Any = None

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Show the line while inside, and leave nothing of it behind."""
        from rich.live import Live

        with Live(
            get_renderable=self.render, console=self._console, transient=True, refresh_per_second=4
        ) as self._live:
            yield
        self._live = None

    def update(self, step: int, figures: Sequence[str] | None = None) -> None:
        """Set the step, and the figures in the order in which narrow terminals keep them."""
        self._step = step
        self._figures = self._figures if figures is None else figures

    def evaluating(self, done: int, total: int) -> None:
        """Show how much of an evaluation is done."""
        self._evaluated = (done, total)

    def evaluated(self) -> None:
        """Show training again."""
        self._evaluated = None

    def render(self) -> Text:
        """The line, narrower than the terminal."""
        from rich.text import Text

        room = self._console.width - 1
        done, total = self._step, self._total
        text, figures = f"step {done}/{total}", self._figures
        if self._evaluated is not None:
            done, total = self._evaluated
            text, figures = f"{text}  evaluating {done}/{total} samples", ()
        if len(text) + 2 + _BAR > room:
            return Text(text[:room], no_wrap=True)
        filled = round(_BAR * min(1.0, done / total)) if total else 0
        full, empty = ("#", "-") if self._console.options.ascii_only else ("━", "━")
        line = Text.assemble(
            f"{text}  ", (full * filled, "cyan"), (empty * (_BAR - filled), "bright_black")
        )
        line.no_wrap = True
        for figure in figures:
            if len(line) + 2 + len(figure) <= room:
                line.append(f"  {figure}")
        return line


def clock(seconds: float) -> str:
    """A duration as ``2:31`` or ``1:02:31``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def share(value: float) -> str:
    """A percentage; a dash for what is not known, as the mean precision of no label."""
    return f"{value:.1%}" if math.isfinite(value) else "-"
