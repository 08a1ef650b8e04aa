"""The drawing of a lineage is well-formed SVG that shows texts as they are."""

import xml.etree.ElementTree as ET

import pytest

from zoo.ch09_pipeline import lineage
from zoo.ch09_pipeline.lineage import Box

BOXES = {
    "data": Box(0, 0, "data", ("<script>alert(1)</script>", "a & b")),
    "model": Box(1, 0.5, "model", ("sha256 0123",), broken=True),
}
SVG = "{http://www.w3.org/2000/svg}"


def test_boxes_arrows_and_texts_are_there():
    root = ET.fromstring(lineage.draw(BOXES, [("data", "model")]))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == [
        "data", "<script>alert(1)</script>", "a & b", "model: BROKEN", "sha256 0123"
    ]  # fmt: skip
    assert len(list(root.iter(f"{SVG}rect"))) == 2
    assert len(root.findall(f"{SVG}path")) == 1
    assert not list(root.iter(f"{SVG}script"))


def test_a_broken_link_has_another_colour():
    root = ET.fromstring(lineage.draw(BOXES, []))
    whole, broken = (element.get("stroke") for element in root.iter(f"{SVG}rect"))
    assert whole != broken


def test_everything_lies_inside_the_drawing():
    root = ET.fromstring(lineage.draw(BOXES, []))
    _, _, width, height = map(float, root.get("viewBox").split())
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        assert x + w <= width
        assert y + h <= height


def test_an_edge_to_nowhere_is_named():
    with pytest.raises(ValueError, match="got an edge to 'nowhere', expected one of data, model"):
        lineage.draw(BOXES, [("data", "nowhere")])
