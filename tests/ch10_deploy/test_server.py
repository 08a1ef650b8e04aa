"""A real server in a process of its own, over real connections."""

import base64
import io
import random
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import PIL.Image
import pytest

from zoo.ch10_deploy import keys, load


@pytest.fixture(scope="module")
def png():
    """A picture as a file, and its pixels."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


def answers(response):
    assert response.status_code == 200, response.text
    return {one["label"]: one["probability"] for one in response.json()["predictions"]}


def problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert content["status"] == status
    assert "Traceback" not in response.text
    assert ".py" not in response.text
    return content["detail"]


def raw(server, content, wait=10.0):
    """What comes back for some bytes, until the server closes or `wait` seconds pass."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(content)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def test_a_prediction_is_that_of_the_model_however_the_picture_is_sent(client, exported, png, main):
    file, pixels = png
    model = load(exported)
    probabilities = model.predict(main, {"image": pixels[None]})["probabilities"][0]
    expected = dict(zip(model.classes, probabilities.tolist(), strict=True))
    text = {"image": base64.b64encode(file).decode()}
    responses = [
        client.post("/v1/predict?top_k=10", content=file, headers={"content-type": "image/png"}),
        client.post("/v1/predict?top_k=10", files={"image": ("a.png", file, "image/png")}),
        client.post("/v1/predict?top_k=10", json=text),
        client.post("/v1/predict?top_k=10", json={"pixels": pixels.tolist()}),
        client.post("/v1/predict?top_k=10", json={"inputs": {"image": pixels.tolist()}}),
        client.post(f"/v1/predict/{main}?top_k=10", json=text),
    ]
    for response in responses:
        found = answers(response)
        assert found == pytest.approx(expected, abs=2e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert response.json()["model"] == model.digest[:12]


def test_as_many_classes_as_asked_for(client, png):
    def count(query):
        return len(answers(client.post(f"/v1/predict{query}", files={"image": png[0]})))

    assert [count(q) for q in ("", "?top_k=1", "?top_k=3&x=y", "?top_k=99")] == [5, 1, 3, 10]


def test_many_at_once_each_get_their_own_answer(server, keyfile, exported, main):
    model, results = load(exported), {}
    pictures = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3), np.uint8)

    def ask(number):
        headers = {"X-API-Key": keyfile[1]}
        body = {"pixels": pictures[number].tolist()}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
            results[number] = answers(client.post("/v1/predict?top_k=10", json=body))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = model.predict(main, {"image": pictures})["probabilities"]
    for number, row in enumerate(rows):
        found = [results[number][name] for name in model.classes]
        np.testing.assert_allclose(found, row, atol=2e-6)


def test_without_a_good_key_nobody_gets_in(server, client, png):
    key = client.headers["Authorization"].removeprefix("Bearer ")
    both = {"X-API-Key": key, "Authorization": "Bearer zoo_x"}
    for given in ({}, {"X-API-Key": "zoo_x"}, {"Authorization": "Basic abc"}, both):
        with httpx.Client(base_url=server.url, headers=given, trust_env=False) as stranger:
            response = stranger.post("/v1/predict", content=png[0])
        assert "API key" in problem(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"


def test_a_key_has_its_rate(server, keyfile, png):
    headers = {"Authorization": f"Bearer {keyfile[2]}", "content-type": "image/png"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as slow:
        responses = [slow.post("/v1/predict", content=png[0]) for _ in range(6)]
        refused = [r for r in responses if r.status_code != 200]
        assert len(refused) >= 3
        assert "2 requests a second" in problem(refused[-1], 429)
        time.sleep(int(refused[-1].headers["retry-after"]))
        assert slow.post("/v1/predict", content=png[0]).status_code == 200


def test_a_revoked_key_is_refused_while_the_server_runs(server, keyfile, png):
    key = keys.add(keyfile[0], "fleeting", 0)
    headers = {"X-API-Key": key, "content-type": "image/png"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
        time.sleep(0.6)
        assert client.post("/v1/predict", content=png[0]).status_code == 200
        keys.revoke(keyfile[0], "fleeting")
        time.sleep(0.6)
        assert client.post("/v1/predict", content=png[0]).status_code == 401


def memory(client):
    text = client.get("/metrics").text
    return float(re.search(r"^process_resident_memory_bytes (\S+)$", text, re.M)[1]) / 2**20


def status_of(server, one):
    """What answers a bad request; 0 where the connection just ends."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(one.content)
            if one.name.startswith("gone"):  # hangs up without waiting
                return 0
            head = connection.recv(65536).split()
            return int(head[1]) if len(head) > 1 else 0
        except ConnectionError:
            return 0


def test_bad_requests_of_every_kind_are_refused_and_cost_no_memory(server, client, keyfile, bad):
    kinds = bad.bad_requests(keyfile[1], 200_000, (32, 32, 3))
    before = None
    with ThreadPoolExecutor(8) as threads:
        for seed in range(8):
            order = random.Random(seed).sample(kinds, len(kinds))
            found = [*threads.map(lambda one: status_of(server, one), order)]
            wrong = {b.name: s for b, s in zip(order, found, strict=True) if s not in b.right}
            assert not wrong
            assert all(status < 500 for status in found)
            before = memory(client) if before is None else before  # buffers fill up at first
    assert memory(client) - before < 32  # MiB; far below what one bomb would take
    assert client.post("/v1/predict", files={"image": bad.picture()}).status_code == 200


def test_a_body_that_does_not_come_is_given_up(server, keyfile, bad):
    head = bad.request_bytes("/v1/predict", b"x" * 99, "image/png", keyfile[1])
    began = time.monotonic()
    assert raw(server, head[:-50]).startswith(b"HTTP/1.1 408")
    assert 2 < time.monotonic() - began < 25  # --timeout 3


def test_liveness_model_schema_and_metrics(client, main, png):
    answers(client.post("/v1/predict", files={"image": png[0]}))
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    about = client.get("/v1/model").json()
    assert about["key_needed"]
    assert about["max_bytes"] == 200_000
    assert len(about["classes"]) == 10
    schema = client.get("/openapi.json").json()
    assert about["classifies"]
    assert about["image_shape"] == [32, 32, 3]
    predict = schema["paths"]["/v1/predict"]["post"]
    again = schema["paths"][f"/v1/predict/{main}"]["post"]
    assert {**again, "operationId": "predict"} == predict
    assert set(predict["requestBody"]["content"]) >= {"image/*", "application/json"}
    assert {"200", "401", "413", "429"} <= set(predict["responses"])
    assert predict["security"] == [{"bearer": []}, {"header": []}]
    text = client.get("/metrics").text
    assert 'zoo_requests_total{path="/v1/predict",status="200"}' in text
    assert re.search(r"^zoo_batch_images_count [1-9]", text, re.M)
    assert "process_resident_memory_bytes" in text
    assert "zoo_ready 1.0" in text


def test_paths_that_are_not_there_share_one_measure(client):
    for path in ("/a", "/b/c", "/v1/predict/", "/v1/predict/x"):
        problem(client.get(path), 404)
    assert problem(client.get("/v1/predict"), 405) == "not with this method"
    text = client.get("/metrics").text
    assert 'path="other",status="404"' in text
    assert "/b/c" not in text


def test_pages_load_nothing_from_elsewhere_and_run_no_script_of_theirs(client):
    for path in ("/", "/docs"):
        response = client.get(path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert not re.findall(r'(?:src|href)="(?:/|[a-z]+:)', response.text)  # but beside the page
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|<style|\sstyle=", response.text)
        for url in re.findall(r'(?:src|href)="([^"]+)"', response.text):
            assert client.get(f"/{url}".rstrip(".")).status_code == 200, url


@pytest.mark.slow
def test_sigterm_under_load_loses_nothing_that_was_accepted(start, exported, png):
    server = start(exported, "--open", "--max-batch", 8, "--drain", 2).wait_ready()
    statuses, lost, lock = [], [], threading.Lock()

    def put_under_load():
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            while True:
                try:
                    status = client.post("/v1/predict", files={"image": png[0]}).status_code
                except httpx.ConnectError:  # the server has closed its door
                    return
                except httpx.TransportError as error:
                    lost.append(error)
                    return
                with lock:
                    statuses.append(status)

    clients = [threading.Thread(target=put_under_load) for _ in range(16)]
    for client in clients:
        client.start()
    time.sleep(1.0)
    server.process.terminate()
    time.sleep(0.2)
    response = httpx.get(f"{server.url}/readyz", trust_env=False)
    assert problem(response, 503) == "shutting down"
    assert response.headers["connection"] == "close"
    response = httpx.post(f"{server.url}/v1/predict", files={"image": png[0]}, trust_env=False)
    assert response.status_code == 200
    status, out = server.end()
    for client in clients:
        client.join()
    assert status == 0, out
    assert not lost
    assert set(statuses) == {200}
    assert len(statuses) > 100
    accepted = re.search(r"ended: ([\d,]+) of ([\d,]+) accepted requests answered", out)
    assert accepted[1] == accepted[2]
    assert int(accepted[1].replace(",", "")) == len(statuses) + 2


def test_before_the_model_is_compiled_the_server_lives_but_is_not_ready(start, exported, png):
    server = start(exported, "--open", "--max-batch", 64)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/healthz").status_code == 200
        assert problem(client.get("/readyz"), 503) == "compiling"
        response = client.post("/v1/predict", files={"image": png[0]})
        assert problem(response, 503) == "the model is being compiled"
        server.wait_ready()
        assert client.get("/readyz").status_code == 200
    status, _ = server.end()
    assert status == 0


# ---- attacks: nobody locks the others out, memory is bounded, liveness answers at once


def liveness(server):
    """Seconds until /healthz answers on a new connection."""
    began = time.monotonic()
    response = httpx.get(f"{server.url}/healthz", trust_env=False, timeout=10)
    assert response.status_code == 200
    return time.monotonic() - began


@pytest.fixture(scope="module")
def opened(exported, shell, running_type):
    """A server without keys."""
    running = running_type(shell, exported, "--open", "--max-batch", 2, "--timeout", 3)
    yield running.wait_ready()
    running.end()


ENDLESS = (
    b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    b"Content-Length: 90000\r\n\r\n"
)


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET /heal", ENDLESS], ids=repr)
def test_idle_connections_by_the_thousand_lock_nobody_out(start, opened, png):
    host, port = opened.url.removeprefix("http://").split(":")
    held = []
    try:
        for _ in range(950):
            held.append(socket.create_connection((host, int(port)), timeout=5))
            held[-1].sendall(start)
        assert max(liveness(opened) for _ in range(5)) < 1
        body = {"pixels": png[1].tolist()}
        response = httpx.post(f"{opened.url}/v1/predict", json=body, trust_env=False)
        assert response.status_code in ((200, 429) if start == ENDLESS else (200,))
    finally:
        for one in held:
            one.close()


def test_small_files_of_many_pixels_do_not_hold_up_the_loop(exported, start):
    server = start(exported, "--open", "--max-batch", 2, "--max-pixels", 16_000_000).wait_ready()
    file = io.BytesIO()
    PIL.Image.new("1", (4000, 4000)).save(file, "PNG", optimize=True)
    assert len(file.getvalue()) < 16 * 1024
    waits, statuses = [], []

    def send():
        answer = httpx.post(
            f"{server.url}/v1/predict",
            files={"image": file.getvalue()},
            timeout=60,
            trust_env=False,
        )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        waits.append(liveness(server))
    assert set(statuses) <= {200, 503}
    assert sorted(waits)[len(waits) // 2] < 0.5


@pytest.mark.parametrize(
    "value", ['["%s", 1, 1]' % ("x" * 100_000), "[" * 90_000, "[[1, 2], [3]]", '{"a": 1}', "1e999"]
)
def test_json_is_looked_at_before_it_is_an_array(value, client):
    before = memory(client)
    content = f'{{"pixels": {value}}}'.encode()
    headers = {"content-type": "application/json"}
    response = client.post("/v1/predict", content=content, headers=headers)
    problem(response, 400 if value.startswith("[[[") else 422)
    assert memory(client) - before < 20


def test_one_client_cannot_take_all_places_by_bodies_that_do_not_come(exported, start, png):
    server = start(exported, "--open", "--max-queue", 4, "--max-client", 8).wait_ready()
    host, port = server.url.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port)), timeout=5) for _ in range(7)]
    for one in held:
        one.sendall(ENDLESS)
    time.sleep(0.3)
    assert httpx.post(
        f"{server.url}/v1/predict", files={"image": png[0]}, trust_env=False
    ).is_success
    held.append(socket.create_connection((host, int(port)), timeout=5))
    held[-1].sendall(ENDLESS)
    time.sleep(0.3)
    response = httpx.post(f"{server.url}/v1/predict", files={"image": png[0]}, trust_env=False)
    assert problem(response, 429) == "this address has 8 requests under way"
    for one in held:
        one.close()


def test_a_large_body_gets_its_refusal_though_it_is_still_being_sent(client, server, keyfile):
    response = client.post("/v1/predict", content=bytes(17_000_000))
    assert "more than 200,000 bytes" in problem(response, 413)
    assert response.headers["connection"] == "close"


def test_head_is_answered_as_get_without_the_content(client):
    for path in ("/healthz", "/readyz", "/metrics", "/v1/model", "/", "/docs"):
        head, get = client.head(path), client.get(path)
        assert head.status_code == get.status_code == 200
        assert head.content == b""
        assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("query", ["0", "-1", "1.5", "x", "", "1&top_k=2", "%32%00", "100000", "٣"])
def test_an_odd_number_of_classes_is_refused(query, client, png):
    response = client.post(f"/v1/predict?top_k={query}", files={"image": png[0]})
    assert "top_k" in problem(response, 422)
    assert len(answers(client.post("/v1/predict?top%5Fk=%33", files={"image": png[0]}))) == 3


def test_a_packed_body_and_a_wrong_host_are_refused(client, server, keyfile, png):
    headers = {"content-encoding": "gzip", "content-type": "image/png"}
    response = client.post("/v1/predict", content=png[0], headers=headers)
    problem(response, 415)
    assert response.headers["accept-encoding"] == "identity"
    for lines in (b"", b"Host: a\r\nHost: b\r\n"):
        found = raw(server, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + lines + b"\r\n")
        assert found.startswith(b"HTTP/1.1 400")
    assert raw(server, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_signal_while_the_model_compiles_ends_the_server_at_once(start, exported):
    server = start(exported, "--open", "--max-batch", 1024, "--drain", 0)
    status, out = server.end()
    assert status == 0, out
    assert "ready after" not in out


def test_a_second_interrupt_ends_without_a_traceback(start, exported):
    server = start(exported, "--open", "--max-batch", 1, "--drain", 120).wait_ready()
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    status, out = server.end(signal.SIGINT)  # which waits for 30 seconds
    assert status == 0, out
    assert "Traceback" not in out
