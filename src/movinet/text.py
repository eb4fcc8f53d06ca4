"""Text from outside, made fit for terminals, pictures and files."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text with whatever could steer a terminal, break a line or an XML file escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shorten(label: str, width: int = 40) -> str:
    """A label of at most `width` columns, with an ellipsis where something was cut off."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(label) <= width:
        return label
    return set_cell_size(label, width - 1).rstrip() + "…"


def one_line(text: object) -> str:
    """Text from outside, fit for a message: printable, on one line, not long."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return line if len(line) <= 200 else f"{line[:200]}…"
