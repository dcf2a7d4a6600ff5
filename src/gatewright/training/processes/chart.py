"""A small chart of a training's losses for the terminal, drawn with the dots of braille letters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

#: Size of the chart in letters; each has 2 × 4 dots.
WIDTH, HEIGHT = 60, 6
#: Letters for the labels at the left, and the fewest for the curves.
MARGIN, MIN_WIDTH = 10, 10
#: A terminal of fewer lines gets no chart.
MIN_LINES = 16
#: The bit of each dot in a braille letter, by column and row (Unicode, block 2800).
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
BLANK = 0x2800

Point = tuple[int, float]  # an epoch and a loss


def can_draw(console: Console) -> bool:
    """Tell if a terminal moves its cursor, has braille letters, and has room for a chart."""
    is_live = console.is_terminal and not console.is_dumb_terminal
    return is_live and not console.options.ascii_only and console.height >= MIN_LINES


def loss_chart(
    curves: Sequence[tuple[str, Sequence[Point]]], epochs: int, width: int = WIDTH
) -> Text:
    """Draw curves over `epochs` epochs in one chart, each in its style.

    Where two curves pass through one letter, it has the style of the last of them.

    Args:
        curves: The style and the points of each, in the order of the epochs.
    """
    points = [(style, [p for p in curve if math.isfinite(p[1])]) for style, curve in curves]
    losses = [loss for _, curve in points for _, loss in curve]
    if not losses:
        return Text()
    low, high = min(losses), max(losses)
    bits = [[0] * width for _ in range(HEIGHT)]
    styles = [[""] * width for _ in range(HEIGHT)]
    for style, curve in points:
        for x, y in _dots(curve, epochs, low, high, width):
            column, row = x // 2, y // 4
            bits[row][column] |= DOTS[x % 2][y % 4]
            styles[row][column] = style
    labels = [f"{high:.3g}", *[""] * (HEIGHT - 2), f"{low:.3g}"]
    margin = max(map(len, labels))
    text = Text()
    for row, label in enumerate(labels):
        text.append(f"{label:>{margin}} ", style="dim")
        for bit, style in zip(bits[row], styles[row], strict=True):
            text.append(chr(BLANK + bit), style=style)
        text.append("\n" if row + 1 < HEIGHT else "")
    return text


def _dots(
    curve: Sequence[Point], epochs: int, low: float, high: float, width: int
) -> Iterator[tuple[int, int]]:
    """The dots (x, y) of a curve, with straight lines between its points; y counts downwards."""
    rows, columns = 4 * HEIGHT - 1, 2 * width - 1

    def place(point: Point) -> tuple[float, float]:
        share = (point[0] - 1) / max(epochs - 1, 1)
        height = (point[1] - low) / (high - low) if high > low else 0.0
        return share * columns, (1.0 - height) * rows

    places = [place(point) for point in curve]
    for (x, y), (next_x, next_y) in zip(places, [*places[1:], places[-1]], strict=True):
        count = max(math.ceil(max(abs(next_x - x), abs(next_y - y))), 1)
        for part in range(count + 1):
            share = part / count
            yield round(x + share * (next_x - x)), round(y + share * (next_y - y))
