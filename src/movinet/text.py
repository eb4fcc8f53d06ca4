"""Text from outside, made fit for terminals, pictures and files."""

from __future__ import annotations

import unicodedata

#: Unicode's categories of control characters, of line and paragraph ends, and of what stands for
#: bytes that are no UTF-8 (PEP 383).
_NOT_IN_NAMES = {"Cc", "Zl", "Zp", "Cs"}
#: Characters that turn the direction of what follows them, up to where it is turned back.
_TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def is_name(text: str) -> bool:
    """Whether text has no line ends and no control characters, and can be written as UTF-8.

    Names have spaces of all widths (macOS puts a narrow one before AM and PM) and joiners, which
    Persian, Hindi and emoji need.
    """
    return text.isprintable() or all(unicodedata.category(c) not in _NOT_IN_NAMES for c in text)


def is_file_name(text: str) -> bool:
    """`is_name` for files, whose names are bytes and may be no UTF-8."""
    return is_name(text.encode(errors="surrogateescape").decode(errors="replace"))


def same_form(text: str) -> str:
    """Text in the Unicode form (NFC) in which names are compared.

    An e with an acute accent may be one character or two; macOS stores names of files as two.
    """
    return unicodedata.normalize("NFC", text)


def printable(text: str) -> str:
    """Text with whatever could steer a terminal, break a line or an XML file escaped."""
    return "".join(c if _is_harmless(c) else ascii(c)[1:-1] for c in text)


def _is_harmless(char: str) -> bool:
    if char.isprintable():
        return True
    category = unicodedata.category(char)
    return category == "Zs" or (category == "Cf" and char not in _TURNING)


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
