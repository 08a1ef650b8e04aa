"""KServe's V2 protocol: what is written in its public specification, and what it must refuse."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the server needs uvicorn")
from zoo.ch10_deploy import kserve, load
from zoo.ch10_deploy.export import Signature
from zoo.ch10_deploy.inputs import Problem

SPECS = {
    "image": jax.ShapeDtypeStruct((2, 3), np.uint8),
    "scale": jax.ShapeDtypeStruct((), np.float32),
}
OUTPUTS = {"sum": jax.ShapeDtypeStruct((2,), np.float32), "on": jax.ShapeDtypeStruct((), np.bool_)}
SIGNATURE = Signature("sums", SPECS, OUTPUTS)


def request(count=1, **changes):
    """A request with that number of examples."""
    image = {"name": "image", "shape": [count, 2, 3], "datatype": "UINT8", "data": [7] * 6 * count}
    scale = {"name": "scale", "shape": [count], "datatype": "FP32", "data": [0.5] * count}
    return {"inputs": [image, scale], **changes}


def parse(content, behind=b"", kind="application/json", most=8):
    body = json.dumps(content).encode()
    length = str(len(body)) if behind else None
    return kserve.parse(body + behind, kind, length, SIGNATURE, most)


def test_datatypes_have_the_protocols_names():
    given = (np.bool_, np.uint8, np.int8, np.int32, np.uint64, np.float16, np.float32)
    found = [kserve.datatype(jax.ShapeDtypeStruct((), kind)) for kind in given]
    assert found == ["BOOL", "UINT8", "INT8", "INT32", "UINT64", "FP16", "FP32"]


def test_one_list_and_nested_lists_are_the_same_tensor():
    flat = request(2)
    flat["inputs"][0]["data"] = [*range(12)]
    nested = request(2)
    nested["inputs"][0]["data"] = np.arange(12).reshape(2, 2, 3).tolist()
    for content in (flat, nested):
        found = parse(content)
        np.testing.assert_array_equal(found.arrays["image"], np.arange(12).reshape(2, 2, 3))
        assert found.arrays["image"].dtype == np.uint8
        assert found.examples == 2


def test_tensors_in_bytes_follow_the_json_in_order():
    content = request(2)
    for tensor, size in zip(content["inputs"], (12, 8), strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": size}
    behind = bytes(range(12)) + np.array([0.25, -1], "<f4").tobytes()
    found = parse(content, behind, "application/octet-stream")
    np.testing.assert_array_equal(found.arrays["image"].ravel(), np.arange(12))
    np.testing.assert_array_equal(found.arrays["scale"], np.float32([0.25, -1]))


def test_outputs_are_chosen_and_sent_as_asked():
    rows = [{"sum": np.float32([1, np.inf]), "on": np.bool_(True)}] * 3
    asked = parse(request(3, id="42", outputs=[{"name": "on"}, {"name": "sum"}]))
    content, kind, headers = kserve.answer("sums", asked, rows, SIGNATURE)
    assert (kind, headers) == ("application/json", {})
    on, total = json.loads(content)["outputs"]
    assert on == {"name": "on", "datatype": "BOOL", "shape": [3], "data": [True] * 3}
    assert total["data"] == [1, None] * 3  # JSON has no infinity
    assert {k: v for k, v in json.loads(content).items() if k != "outputs"} == {
        "model_name": "sums",
        "id": "42",
    }
    one = {"name": "sum", "parameters": {"binary_data": True}}
    content, kind, headers = kserve.answer("m", parse(request(3, outputs=[one])), rows, SIGNATURE)
    size = int(headers[kserve.LENGTH])
    (total,) = json.loads(content[:size])["outputs"]
    assert kind == "application/octet-stream"
    assert total["parameters"] == {"binary_data_size": 24}
    np.testing.assert_array_equal(np.frombuffer(content[size:], "<f4"), [1, np.inf] * 3)
    every = parse(request(parameters={"binary_data_output": True}))
    assert every.outputs == {"sum": True, "on": True}


def changed(path, value):
    content = request(2)
    at = content
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "no JSON object"),
        ({}, '"inputs" must be a list'),
        ({"inputs": [1]}, '"inputs" must be a list of objects'),
        ({"inputs": [{"name": "image"}]}, '"inputs" must be image, scale'),
        ({"inputs": [{"name": "image"}] * 2}, "a name twice"),
        (request(id=7), '"id" must be a text'),
        (request(parameters=[]), '"parameters" must be an object'),
        (request(outputs=[{"name": "none"}]), "no output 'none', expected sum, on"),
        (request(parameters={"binary_data_output": 1}), "must be true or false"),
        (request(9), "the first from 1 to 8"),
        (request(0), "the first from 1 to 8"),
        (changed(["inputs", 0, "datatype"], "FP32"), "datatype UINT8"),
        (changed(["inputs", 0, "shape"], [2, 3, 2]), r"the shape \[-1, 2, 3\]"),
        (changed(["inputs", 0, "shape"], [2.0, 2, 3]), r"the shape \[-1, 2, 3\]"),
        (changed(["inputs", 0, "shape"], [True, 2, 3]), r"the shape \[-1, 2, 3\]"),
        (changed(["inputs", 0, "shape"], []), r"the shape \[-1, 2, 3\]"),
        (changed(["inputs", 0, "data"], [256] * 12), "whole numbers from 0 to 255"),
        (changed(["inputs", 0, "data"], [1.5] * 12), "whole numbers"),
        (changed(["inputs", 0, "data"], ["x" * 99] * 12), "whole numbers"),
        (changed(["inputs", 0, "data"], [7] * 11), "or one list of all"),
        (changed(["inputs", 0, "data"], [[[1, 2, 3], [4, 5]]] * 2), "or one list of all"),
        (changed(["inputs", 0, "data"], None), "or one list of all"),
        (changed(["inputs", 1, "data"], [1e39, 0]), "finite numbers"),
        (changed(["inputs", 1], request(1)["inputs"][1]), "differ in their number"),
        (changed(["inputs", 0, "parameters"], {"binary_data_size": 12}), "12 bytes behind"),
        (changed(["inputs", 0, "parameters"], {"binary_data_size": -1}), "12 bytes behind"),
    ],
)
def test_what_does_not_fit_is_refused(content, said):
    with pytest.raises(Problem, match=said) as refused:
        parse(content)
    assert refused.value.status == 400


def test_bytes_that_do_not_fit_are_refused():
    with pytest.raises(Problem, match="3 bytes behind the JSON are of no input"):
        parse(request(), b"abc")
    for length in ("x", "-1", "9" * 13, "99999", "\u0663"):
        with pytest.raises(Problem, match=r"header|whole number"):
            kserve.parse(b"{}", "", length, SIGNATURE, 8)
    content = request()
    content["inputs"][1] = {**content["inputs"][1], "parameters": {"binary_data_size": 4}}
    with pytest.raises(Problem, match="finite"):
        parse(content, np.array([np.nan], "<f4").tobytes())
    with pytest.raises(Problem) as refused:
        parse(request(), kind="text/plain")
    assert refused.value.status == 415


# ---- over HTTP


def test_server_and_model_are_described_as_specified(client, main):
    version = client.get("/v2").json()
    assert version.keys() == {"name", "version", "extensions"}
    assert version["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/ch06_cnn/ready").json() == {"name": "ch06_cnn", "ready": True}
    image = {"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}
    found = client.get("/v2/models/ch06_cnn").json()
    assert found == {
        "name": "ch06_cnn",
        "platform": "jax",
        "inputs": [image],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    }
    missing = client.get("/v2/models/nothing")
    assert missing.status_code == 404
    assert missing.json().keys() == {"error"}


def test_an_inference_equals_the_models_prediction(client, exported, main, pictures):
    expected = load(exported).predict(main, {"image": pictures})["probabilities"]
    image = {"name": "image", "shape": [8, 32, 32, 3], "datatype": "UINT8"}
    body = {"id": "a", "inputs": [{**image, "data": pictures[:2].ravel().tolist()}]}
    body["inputs"][0]["shape"] = [2, 32, 32, 3]
    response = client.post("/v2/models/ch06_cnn/infer", json=body)
    assert response.status_code == 200, response.text
    (found,) = response.json()["outputs"]
    assert (found["shape"], response.json()["id"]) == ([2, 10], "a")
    np.testing.assert_allclose(np.reshape(found["data"], (2, 10)), expected[:2], atol=2e-6)
    head = {"inputs": [{**image, "parameters": {"binary_data_size": pictures.nbytes}}]}
    head["parameters"] = {"binary_data_output": True}
    start = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(start))}
    sent = start + pictures.tobytes()
    response = client.post("/v2/models/ch06_cnn/infer", content=sent, headers=headers)
    assert response.status_code == 200, response.text
    size = int(response.headers["inference-header-content-length"])
    assert json.loads(response.content[:size])["outputs"][0]["shape"] == [8, 10]
    values = np.frombuffer(response.content[size:], "<f4").reshape(8, 10)
    np.testing.assert_allclose(values, expected, atol=2e-6)


def test_the_protocol_has_the_same_keys_and_limits(server, client):
    import httpx

    path = f"{server.url}/v2/models/ch06_cnn/infer"
    response = httpx.post(path, json={}, trust_env=False)
    assert response.status_code == 401
    assert "API key" in response.json()["error"]
    response = client.post("/v2/models/ch06_cnn/infer", content=b"x" * 200_001)
    assert response.status_code == 413
    assert response.json().keys() == {"error"}
    assert client.post("/v2/models/ch06_cnn/infer", content=b"x").status_code == 400
    assert client.get("/v2/models/ch06_cnn/infer").headers["allow"] == "POST"
    text = client.get("/metrics").text
    assert 'zoo_requests_total{path="/v2/models/ch06_cnn/infer",status="413"}' in text
