"""What a chaos job reports: how often it tried, how often the law held."""

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    name: str
    tried: int
    survived: int
    seconds: float


def table(rows: Sequence[tuple[str, int, int, float]]) -> str:
    heads = ("what", "tried", "survived", "seconds")
    cells = [heads, *((name, f"{tried:,}", f"{held:,}", f"{seconds:.1f}") for name, tried, held, seconds in rows)]
    widths = [max(len(cell[column]) for cell in cells) for column in range(len(heads))]
    # The first column is words, the others are numbers.
    lines = ["  ".join([cell[0].ljust(widths[0]), *map(str.rjust, cell[1:], widths[1:])]) for cell in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
