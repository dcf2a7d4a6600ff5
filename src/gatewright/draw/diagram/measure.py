"""Estimate the width of a text without its font.

The sans-serif font of the reader is unknown, so the estimate is that of a wide font: DejaVu
Sans is wider than Helvetica, Arial, Segoe and Roboto.
"""

from __future__ import annotations

import unicodedata

_NARROW = dict.fromkeys("ijl.,:;'|!I ", 0.36) | dict.fromkeys("ft()[]/r-", 0.44)
_WIDE = dict.fromkeys("mwMWOQ@%", 1.0) | dict.fromkeys("+−×÷=<>≤≥~^", 0.86)


def text_width(text: str, size: float) -> float:
    """The largest width in pixels of `text` at a font size in pixels."""
    return size * sum(_em(letter) for letter in text)


def _em(letter: str) -> float:
    if letter in _NARROW:
        return _NARROW[letter]
    if letter in _WIDE:
        return _WIDE[letter]
    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in "FW" or ord(letter) > 0x1F000:
        return 1.15
    return 0.72 if letter.isupper() else 0.64 if letter.isascii() else 0.84


def wrapped(text: str, size: float, width: float, max_lines: int) -> list[str]:
    """Wrap `text` into at most `max_lines` lines no wider than `width`, and cut the rest."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    visible = lines[:max_lines]
    if len(lines) > max_lines:
        visible[-1] += " …"
    return [_cut(line, size, width) for line in visible]


def _cut(text: str, size: float, width: float) -> str:
    if text_width(text, size) <= width:
        return text
    text = text.rstrip(" …")
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"
