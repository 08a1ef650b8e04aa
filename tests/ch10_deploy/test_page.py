"""The web page in a real browser: a picture is dropped, bars are drawn."""

import io

import numpy as np
import PIL.Image
import pytest

from zoo.ch10_deploy import export
from zoo.common import trained

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the browser is driven by playwright"
)

# Playwright can't drag from outside the browser, so the drop is made where it would arrive.
DROP = """async ([name, type, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.getElementById("drop").dispatchEvent(
      new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}"""


@pytest.fixture
def page(browser, server):
    """The page, with everything noted that a browser complains of or fetches."""
    page = browser.new_page()
    page.complaints, page.fetched = [], []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.fetched.append(request.url))
    page.goto(server.url)
    yield page
    page.close()


def png(seed=0):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def rows(page):
    page.wait_for_selector("#bars:not([hidden]) tr")
    names = page.locator("#bars th").all_inner_texts()
    values = [float(e.get_attribute("value")) for e in page.locator("#bars progress").all()]
    return names, values


def test_a_dropped_picture_gets_bars_of_its_probabilities(page, client, keyfile, server):
    page.get_by_label("API key").fill(keyfile[1])
    page.evaluate(DROP, ["cat.png", "image/png", list(png())])
    names, values = rows(page)
    response = client.post("/v1/predict?top_k=10", files={"image": png()})
    expected = response.json()["predictions"]
    assert names == [one["label"] for one in expected]
    assert values == pytest.approx([one["probability"] for one in expected], abs=1e-5)
    assert page.locator("#message").inner_text() == names[0]
    assert page.locator("#shown").evaluate("image => image.naturalWidth") == 32
    assert not page.complaints
    assert all(url.startswith((server.url, "blob:")) for url in page.fetched)


def test_a_picture_can_be_chosen_by_hand_and_another_after_it(page, keyfile):
    page.get_by_label("API key").fill(keyfile[1])
    file = {"name": "a.png", "mimeType": "image/png"}
    page.set_input_files("#file", {**file, "buffer": png(1)})
    first = rows(page)
    page.set_input_files("#file", {**file, "buffer": png(2)})
    top = page.locator("#bars progress").first
    playwright.expect(top).not_to_have_attribute("value", str(first[1][0]))
    assert rows(page) != first


def test_what_is_wrong_is_said_on_the_page(page, keyfile):
    page.evaluate(DROP, ["cat.png", "image/png", list(png())])
    playwright.expect(page.locator("#message")).to_contain_text("a valid API key is needed")
    page.get_by_label("API key").fill(keyfile[1])
    page.evaluate(DROP, ["notes.txt", "text/plain", [60, 62]])
    playwright.expect(page.locator("#message")).to_have_text(
        "notes.txt is not a picture (text/plain): choose a PNG, JPEG, WebP, GIF or BMP."
    )
    page.evaluate(DROP, ["notes", "", [60, 62]])
    playwright.expect(page.locator("#message")).to_contain_text("can't be read as a picture")
    assert page.locator("#bars").is_hidden()


def test_example_pictures_are_there_to_try(page, keyfile, client):
    page.get_by_label("API key").fill(keyfile[1])
    examples = page.locator("#examples button")
    assert examples.count() == 3
    for name in ("circle", "star", "triangle"):
        page.get_by_role("button", name=f"a drawn {name}").click()
        content = client.get(f"/page/{name}.png").content
        first = client.post("/v1/predict", files={"image": content}).json()["predictions"][0]
        playwright.expect(page.locator("#message")).to_have_text(first["label"])
        top = page.locator("#bars progress").first
        assert float(top.get_attribute("value")) == pytest.approx(first["probability"], abs=1e-5)
    assert not page.complaints


def test_a_digit_is_drawn_and_read(browser, start, tmp_path):
    model = trained.published("ch03_mnist_ae_rbm")
    folder = export.export_run(model, str(tmp_path / "digits")).location
    page = browser.new_page()
    page.goto(start(folder, "--open", "--max-batch", 1).wait_ready().url)
    canvas = page.locator("#canvas")
    playwright.expect(canvas).to_be_visible()
    assert page.locator("#examples").is_hidden()
    for digit, line in (
        ("1", [(140, 50), (140, 230)]),
        ("7", [(80, 60), (200, 60), (120, 230)]),
        ("0", [(140, 50), (80, 90), (80, 190), (140, 230), (200, 190), (200, 90), (140, 50)]),
    ):
        box = canvas.bounding_box()
        scale = box["width"] / 280
        points = [(box["x"] + scale * x, box["y"] + scale * y) for x, y in line]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=10)
        page.mouse.up()
        playwright.expect(page.locator("#message")).to_have_text(digit)
        page.get_by_role("button", name="Clear").click()
        assert page.locator("#bars").is_hidden()
    page.close()


def test_the_page_works_under_a_path_of_a_proxy(browser, server, keyfile):
    page, fetched = browser.new_page(), []

    def forward(route):
        assert "/zoo/" in route.request.url
        fetched.append(route.request.url)
        route.continue_(url=route.request.url.replace("/zoo/", "/"))

    page.route("**/*", forward)
    page.goto(f"{server.url}/zoo/")
    page.get_by_label("API key").fill(keyfile[1])
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png()})
    rows(page)
    page.get_by_role("link", name="API reference").click()
    page.wait_for_selector("h2")
    assert f"{server.url}/zoo/v1/predict" in page.locator("#curl").inner_text()
    assert "Bearer $KEY" in page.locator("#curl").inner_text()
    page.get_by_role("link", name="Try it").click()
    page.wait_for_selector("#drop")
    assert len(fetched) > 8
    page.close()


@pytest.fixture
def form(browser, start, tmp_path):
    """The page of a model that does not classify: the published autoencoder of chapter 8."""
    model = trained.published("ch08_vae")
    folder = export.export_run(model, str(tmp_path / "vae")).location
    server = start(folder, "--open", "--max-batch", 1).wait_ready()
    page = browser.new_page()
    page.complaints = []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(server.url)
    yield page
    page.close()


def test_a_model_that_does_not_classify_has_a_form(form):
    file = {"name": "a.png", "mimeType": "image/png", "buffer": png()}
    form.set_input_files("#input-image", file)
    form.get_by_role("button", name="Predict").click()
    form.wait_for_selector("#outputs canvas")
    form.get_by_label("Prediction").select_option("decode")
    assert form.locator("#outputs canvas").count() == 0
    form.get_by_role("button", name="Predict").click()
    form.wait_for_selector("#outputs canvas")
    assert form.locator("#outputs canvas").get_attribute("width") == "28"
    form.locator("#input-code").fill("[1, 2")
    form.get_by_role("button", name="Predict").click()
    playwright.expect(form.locator("#message")).to_have_text("code is not valid JSON.")
    assert not form.complaints
    form.locator("#input-code").fill("[1, 2]")
    form.get_by_role("button", name="Predict").click()
    playwright.expect(form.locator("#message")).to_contain_text('"code" must be finite numbers')


def test_the_page_for_programs_lists_the_addresses(browser, server):
    page = browser.new_page()
    page.goto(f"{server.url}/docs")
    page.wait_for_selector("h2")
    text = page.inner_text("main")
    for expected in ("POST /v1/predict", "GET /healthz", "too many bytes or pixels", "curl"):
        assert expected in text
    page.close()
