"""The way from data to predictions as a drawing, in SVG: what made what, and where it is broken."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, COLUMN, ROW = 190, 62, 240, 92
_INK, _GREY, _BLUE, _ORANGE = "#222222", "#666666", "#0072B2", "#D55E00"


class Box(NamedTuple):
    """Something that was put in or made."""

    column: int
    row: float
    title: str
    lines: tuple[str, ...]
    """up to two lines below the title"""
    broken: bool = False


def draw(boxes: Mapping[str, Box], edges: Sequence[tuple[str, str]]) -> str:
    """An SVG element of boxes and arrows between them; texts are shown as they are.

    Args:
        boxes: by a short name.
        edges: pairs of such names, (made of, made).

    Raises:
        ValueError: an edge leads to no box.
    """
    for edge in edges:
        if missing := [name for name in edge if name not in boxes]:
            raise ValueError(f"got an edge to {missing[0]!r}, expected one of {', '.join(boxes)}")
    width = COLUMN * max(box.column for box in boxes.values()) + WIDTH + 8
    height = ROW * max(box.row for box in boxes.values()) + HEIGHT + 8
    drawn = [_arrow(boxes[a], boxes[b]) for a, b in edges] + [_box(b) for b in boxes.values()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" role="img" '
        f'aria-label="lineage" style="max-width:{width}px;width:100%" '
        'font-family="system-ui, sans-serif" font-size="12">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{_GREY}"/></marker></defs>'
        f"{''.join(drawn)}</svg>"
    )


def _corner(box: Box) -> tuple[float, float]:
    return 4 + COLUMN * box.column, 4 + ROW * box.row


def _arrow(source: Box, target: Box) -> str:
    (x, y), (end, below) = _corner(source), _corner(target)
    x, y, below = x + WIDTH, y + HEIGHT / 2, below + HEIGHT / 2
    middle = (x + end) / 2
    return (
        f'<path d="M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {below:g} {end:g} {below:g}" '
        f'fill="none" stroke="{_GREY}" marker-end="url(#tip)"/>'
    )


def _box(box: Box) -> str:
    x, y = _corner(box)
    colour = _ORANGE if box.broken else _BLUE
    title = f"{box.title}: BROKEN" if box.broken else box.title
    rows = [(title, colour, "bold"), *((line, _INK, "normal") for line in box.lines[:2])]
    texts = [
        f'<text x="{x + 10:g}" y="{y + 18 + 17 * n:g}" fill="{fill}" font-weight="{weight}">'
        f"{escape(text)}</text>"
        for n, (text, fill, weight) in enumerate(rows)
    ]
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="white" '
        f'stroke="{colour}" stroke-width="{2 if box.broken else 1.2}"/>{"".join(texts)}'
    )
