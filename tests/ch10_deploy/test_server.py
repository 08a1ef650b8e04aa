"""A real server in a process of its own, over real connections."""

import base64
import io
import re
import socket
import threading
import time

import httpx
import numpy as np
import PIL.Image
import pytest

from zoo.ch10_deploy import abuse, keys, load, loadtest


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


def test_a_prediction_is_that_of_the_model_however_the_picture_is_sent(client, exported, png):
    file, pixels = png
    model = load(exported)
    expected = dict(zip(model.classes, model.predict(pixels[None])[0].tolist(), strict=True))
    text = {"image": base64.b64encode(file).decode()}
    responses = [
        client.post("/v1/predict?top_k=10", content=file, headers={"content-type": "image/png"}),
        client.post("/v1/predict?top_k=10", files={"image": ("a.png", file, "image/png")}),
        client.post("/v1/predict?top_k=10", json=text),
        client.post("/v1/predict?top_k=10", json={"pixels": pixels.tolist()}),
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


def test_many_at_once_each_get_their_own_answer(server, keyfile, exported):
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
    for number, row in enumerate(model.predict(pictures)):
        found = [results[number][name] for name in model.classes]
        np.testing.assert_allclose(found, row, atol=2e-6)


def test_without_a_good_key_nobody_gets_in(server, client, png):
    for given in ({}, {"X-API-Key": "zoo_x"}, {"Authorization": "Basic abc"}):
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


def test_ten_thousand_bad_requests_in_small(server, keyfile):
    report = abuse.attack(server.url, keyfile[1], count=400, clients=8)
    assert not report.faults, report.lines()
    assert report.works
    assert report.growth < 32  # MiB; far below what one bomb would take
    assert not any(status >= 500 for kind in report.answers.values() for status in kind)


def test_a_body_that_does_not_come_is_given_up(server, keyfile):
    head = loadtest.request_bytes("/v1/predict", b"x" * 99, "image/png", keyfile[1])
    began = time.monotonic()
    assert raw(server, head[:-50]).startswith(b"HTTP/1.1 408")
    assert 2 < time.monotonic() - began < 8


def test_liveness_model_schema_and_metrics(client):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    about = client.get("/v1/model").json()
    assert about["key_needed"]
    assert about["max_bytes"] == 200_000
    assert len(about["classes"]) == 10
    schema = client.get("/openapi.json").json()
    predict = schema["paths"]["/v1/predict"]["post"]
    assert set(predict["requestBody"]["content"]) >= {"image/*", "application/json"}
    assert {"200", "401", "413", "429"} <= set(predict["responses"])
    text = client.get("/metrics").text
    assert 'zoo_requests_total{path="/v1/predict",status="200"}' in text
    assert re.search(r"^zoo_batch_images_count [1-9]", text, re.M)
    assert "process_resident_memory_bytes" in text
    assert "zoo_ready 1.0" in text


def test_paths_that_are_not_there_share_one_measure(client):
    for path in ("/a", "/b/c", "/v1/predict/"):
        problem(client.get(path), 404)
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
        assert not re.findall(r'(?:src|href)="(?!/)', response.text)
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|<style|\sstyle=", response.text)
        for url in re.findall(r'(?:src|href)="([^"]+)"', response.text):
            assert client.get(url).status_code == 200, url


@pytest.mark.slow
def test_sigterm_under_load_loses_nothing_that_was_accepted(start, exported, png):
    server = start(exported, "--open", "--max-batch", 8, "--drain", 2).wait_ready()
    results = []

    def put_under_load():
        results.append(loadtest.measure(
            server.url, None, clients=16, seconds=20, warmup=0, leave=True))  # fmt: skip

    loader = threading.Thread(target=put_under_load)
    loader.start()
    time.sleep(1.0)
    server.process.terminate()
    time.sleep(0.2)
    response = httpx.get(f"{server.url}/readyz", trust_env=False)
    assert problem(response, 503) == "shutting down"
    assert response.headers["connection"] == "close"
    response = httpx.post(f"{server.url}/v1/predict", files={"image": png[0]}, trust_env=False)
    assert response.status_code == 200
    status, out = server.end()
    loader.join()
    assert status == 0, out
    (result,) = results
    assert result.lost == 0, result.summary()
    assert set(result.statuses) == {200}
    assert len(result.latencies) > 100
    accepted = re.search(r"ended: ([\d,]+) of ([\d,]+) accepted requests answered", out)
    assert accepted[1] == accepted[2]
    assert int(accepted[1].replace(",", "")) == len(result.latencies) + 2


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
