"""The rooms in a real browser: by mouse, keys and touch, wide and narrow, light and dark."""

import io

import numpy as np
import PIL.Image
import pytest
from axe_playwright_python.sync_playwright import Axe

from zoo.visit import build

ROOMS = ("digits", "plane", "maze", "text", "pictures", "movies", "network", "graph")


def enter(page, room):
    page.locator(f"#{room}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#{room}[data-open]")
    return page.locator(f"#{room}")


def until(page, room, words, nth=0):
    """Waits until a room's message has these words."""
    page.wait_for_function(
        """([room, words, nth]) =>
          document.querySelectorAll(`#${room} .message`)[nth].textContent.includes(words)""",
        arg=[room, words, nth],
    )


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_room_opens_without_a_complaint_or_a_foreign_request(visit, address, width, scheme):
    page = visit(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    for room in ROOMS:
        enter(page, room)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, room
    assert not page.complaints
    assert all(url.startswith((address, "blob:")) for url in page.fetched)
    models = {url for url in page.fetched if url.endswith(".onnx")}
    assert len(models) == 7
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_a_digit_drawn_by_mouse_is_read(visit):
    page = visit()
    room = enter(page, "digits")
    for digit, line in (
        ("1", [(140, 50), (140, 230)]),
        ("7", [(80, 60), (200, 60), (120, 230)]),
        ("0", [(140, 50), (80, 90), (80, 190), (140, 230), (200, 190), (200, 90), (140, 50)]),
    ):
        room.get_by_role("button", name="Clear").click()
        room.locator(".pad").scroll_into_view_if_needed()
        box = room.locator(".pad").bounding_box()
        points = [
            (box["x"] + x * box["width"] / 280, box["y"] + y * box["width"] / 280) for x, y in line
        ]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=10)
        page.mouse.up()
        until(page, "digits", f"reads {digit}")
    assert not page.complaints


def test_a_digit_drawn_by_keys_is_read(visit):
    page = visit()
    room = enter(page, "digits")
    room.locator(".pad").focus()
    page.keyboard.press("Delete")
    page.keyboard.press(" ")
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    until(page, "digits", "reads 1")


def test_touch_draws_and_moves_the_point(visit):
    page = visit(has_touch=True, viewport={"width": 390, "height": 800})
    room = enter(page, "digits")
    room.get_by_role("button", name="Clear").tap()
    until(page, "digits", "Draw")
    room.locator(".pad").tap(position={"x": 60, "y": 60})
    until(page, "digits", "reads")
    plane = enter(page, "plane")
    box = plane.locator(".plane").bounding_box()
    plane.locator(".plane").tap(position={"x": 9, "y": box["height"] - 9})
    until(page, "plane", "% of the 3, 3 % of the 6, 3 % of the 0")


def test_the_point_in_the_plane_moves_by_keys_and_the_walk_ends_at_the_other_digit(visit):
    page = visit(reduced_motion="reduce")
    room = enter(page, "plane")
    before = room.locator(".message").inner_text()
    room.locator(".plane").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('#plane .message').textContent !== before", arg=before
    )
    room.get_by_role("button", name="Walk").click()
    until(page, "plane", "0 % of the 3, 100 %")


def test_the_planner_solves_the_maze_and_the_table_follows(visit):
    page = visit()
    room = enter(page, "maze")
    said, learnt = room.locator(".message").all()
    room.get_by_label("Rounds of thought").fill("26")
    assert "25 of 25 cells know the shortest way; its way from the corner has" in said.inner_text()
    assert learnt.inner_text().startswith("After 0 moves")
    room.get_by_role("button", name="Race").click()
    until(page, "maze", "its way has", 1)
    room.get_by_role("button", name="Pause").click()
    maze = room.locator("canvas").first
    maze.focus()
    page.keyboard.press("Shift+ArrowDown")  # from the corner south: a wall opens, or all stays shut
    room.get_by_label("Cells", exact=True).select_option("5x8")
    assert "Round 1 of 51" in said.inner_text()
    assert not page.complaints


def test_the_text_goes_on_and_the_cursor_has_its_guesses(visit):
    page = visit()
    room = enter(page, "text")
    area = room.locator("textarea")
    area.fill("ROMEO:\nO my q")
    area.press("End")
    assert room.locator(".bars li").first.locator(".name").inner_text() == "u"
    area.fill("“")
    assert "has never seen" in room.locator(".message").inner_text()
    area.fill("JULIET:\n")
    room.get_by_role("button", name="Go on writing").click()
    page.wait_for_function("() => document.querySelector('#text textarea').value.length > 60")
    room.get_by_role("button", name="Stop").click()
    assert area.input_value().startswith("JULIET:\n")
    assert not page.complaints


def test_a_picture_is_seen_as_it_is(visit):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    page = visit()
    room = enter(page, "pictures")
    room.locator("input[type=file]").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.wait_for_function(
        """() => !document.querySelector('#pictures .message').textContent.includes('ship')"""
    )
    shown = page.evaluate(
        """() => [...document.querySelector('#pictures .drop canvas').getContext('2d')
          .getImageData(0, 0, 32, 32).data]"""
    )
    np.testing.assert_array_equal(np.array(shown).reshape(32, 32, 4)[..., :3], pixels)
    from zoo.common import trained

    expected = trained.published("ch06_cnn").predict(image=pixels[None])["probabilities"][0]
    names = room.locator(".bars .name").all_inner_texts()
    assert names[0] == trained.published("ch06_cnn").classes[expected.argmax()]
    room.locator("input[type=file]").set_input_files(
        {"name": "a.txt", "mimeType": "text/plain", "buffer": b"<html>"}
    )
    until(page, "pictures", "read as")
    assert not page.complaints


def test_tastes_are_learnt_and_followed(visit):
    page = visit()
    room = enter(page, "movies")
    before = float(room.locator(".message").inner_text().split("by ")[1].split()[0])
    room.get_by_role("button", name="Train").click()
    until(page, "movies", "After 30 passes")
    assert float(room.locator(".message").inner_text().split("by ")[1].split()[0]) < before - 0.1
    first = room.locator(".found").inner_text()
    room.locator(".movies select").nth(3).select_option("1")
    assert room.locator(".found").inner_text() != first


def test_own_ratings_and_titles_are_read(visit):
    rng = np.random.default_rng(0)
    lines = [f"{u}\t{m}\t{rng.integers(1, 6)}\t0\n" for u in range(1, 30) for m in range(1, 9)]
    titles = [f"{m}|Own Film {m} (1999)|01-Jan-1999||{'|0' * 20}\n" for m in range(1, 9)]
    page = visit()
    room = enter(page, "movies")
    room.locator("input[type=file]").set_input_files(
        [
            {"name": "u.data", "mimeType": "text/plain", "buffer": "".join(lines).encode()},
            {"name": "u.item", "mimeType": "text/plain", "buffer": "".join(titles).encode()},
        ]
    )
    until(page, "movies", "29 ")
    assert "29 people, 8 movies" in room.locator(".message").inner_text()
    assert room.locator(".movies label").first.inner_text() == "Own Film 1 (1999)"
    assert not page.complaints


def test_the_first_network_is_trained_step_by_step(visit):
    page = visit()
    room = enter(page, "network")
    room.get_by_role("button", name="Start again").click()
    assert room.locator(".message").inner_text().startswith("Step 0,")
    room.get_by_role("button", name="One step").click()
    assert room.locator(".message").inner_text().startswith("Step 1,")
    for name in ("Adam", "Gorgonia's RMSProp"):
        room.get_by_label("Solver").select_option(name)
        assert room.locator(".message").inner_text().startswith("Step 0,")
    room.get_by_role("button", name="Train").click()
    page.wait_for_function(
        "() => document.querySelector('#network .message').textContent.match(/[0-9]+/)[0] > 20"
    )
    room.get_by_role("button", name="Pause").click()
    assert not page.complaints


def test_the_values_of_a_graph_follow_its_inputs(visit):
    page = visit()
    room = enter(page, "graph")
    room.get_by_label("Function").select_option("0")
    assert room.locator(".value").all_text_contents() == ["1", "2", "3"]
    room.get_by_label("a", exact=True).fill("4")
    assert room.locator(".value").all_text_contents() == ["4", "2", "6"]
    assert room.locator(".slope").all_text_contents() == ["∂ 1", "∂ 1", "∂ 1"]


def test_a_citation_leads_to_its_line(visit, address):
    page = visit()
    room = enter(page, "digits")
    room.get_by_role("link", name="ch03_mnist_ae_rbm").first.click()
    page.wait_for_selector("ol li:target")
    assert "def apply(" in page.locator("ol li:target").inner_text()
    page.get_by_role("link", name="Back to the zoo").click()
    page.wait_for_selector("#digits[data-open]")
    assert set(build.CITED) >= set(ROOMS)
