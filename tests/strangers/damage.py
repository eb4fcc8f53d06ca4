"""Bytes of good files changed, at random or as once went wrong."""

from __future__ import annotations

import random
import re

#: What hostile numbers say.
NUMBERS = [0, 1, 2, 3, 7, 8, 63, 127, 128, 255, 256, 1 << 14, 1 << 15, 1 << 16, 1 << 20, 1 << 24]
NUMBERS += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
#: What stands for other things in text.
WORDS = [b"", b"\0", b"\n", b"\x1b[31m", b"\xff", "\u202e".encode(), b"\xed\xa0\x80", b"NaN"]
WORDS += [b"1e999", b"-1", b"9" * 30, b"../" * 5, b"/etc/hosts", b"!!bool ", b"[" * 40, b'"', b"\\"]


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A file with one to three changes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = _changed(rng, data)
    return data


def _changed(rng: random.Random, data: bytes) -> bytes:
    at, to = _place(rng, data), _place(rng, data)
    at, to = min(at, to), max(at, to)
    near = min(len(data), at + rng.randrange(1, 9))
    number = rng.choice([*NUMBERS, len(data), rng.getrandbits(32)])
    size = rng.choice([1, 2, 4, 8])
    order = rng.choice(["little", "big"])
    match rng.randrange(10):
        case 0 | 1 | 2:
            changed = bytearray(data)
            for _ in range(rng.choice([1, 1, 1, 4, 30])):
                if changed:
                    changed[_place(rng, data) % len(changed)] ^= 1 << rng.randrange(8)
            return bytes(changed)
        case 3:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 4 | 5:
            value = (number % (1 << 8 * size)).to_bytes(size, order)  # pyright: ignore
            return data[:at] + value + data[at + size :]
        case 6:
            return data[:at] + rng.choice(WORDS) + data[near:]
        case 7:
            return data[:at]
        case 8:
            return rng.choice([data[:at] + data[to:], data[:to] + data[at:], data[:at] + data])
        case _:
            return _text_changed(rng, data)


def _place(rng: random.Random, data: bytes) -> int:
    """Anywhere, more often near the ends, where formats have what others hang on."""
    where = rng.randrange(len(data) + 1)
    near = rng.randrange(min(len(data), 600) + 1)
    return rng.choice([where, near, len(data) - near])


def _text_changed(rng: random.Random, data: bytes) -> bytes:
    """A number or a word that is written out replaced."""
    found = list(re.finditer(rb"[0-9]+|[A-Za-z_]{3,}", data[:200_000]))
    if not found:
        return data
    match = rng.choice(found)
    new = rng.choice([*WORDS, str(rng.choice(NUMBERS)).encode(), rng.choice(found)[0]])
    return data[: match.start()] + new + data[match.end() :]
