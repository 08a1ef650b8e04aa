import threading

import pytest

from zoo.visit import serve


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The page's files in a folder, and what `write` returned."""
    folder = tmp_path_factory.mktemp("visit") / "page"
    return folder, serve.write(folder)


@pytest.fixture(scope="session")
def address(built):
    with serve.server(built[0]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def visit(browser, address):
    """Opens the page; notes what a browser complains of, and what it fetches."""
    contexts = []

    def open_page(**options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.complaints, page.fetched = [], []
        page.on(
            "console",
            lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.fetched.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def script(browser, address):
    """An empty page of the same server, to call the page's modules in."""
    page = browser.new_page()
    page.set_default_timeout(300_000)
    page.goto(f"{address}icon.svg")
    yield page
    page.close()
