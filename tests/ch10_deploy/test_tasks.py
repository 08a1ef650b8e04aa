"""Every model of the zoo is exported, loaded and served, each prediction of it."""

import asyncio
import contextlib
import io
import json

import httpx
import jax
import numpy as np
import PIL.Image
import pytest

import zoo
from zoo.ch10_deploy import export, load, store
from zoo.common import run, trained
from zoo.common.trained import Trained

pytest.importorskip("uvicorn", reason="the server needs uvicorn")
from zoo.ch10_deploy import server
from zoo.ch10_deploy.service import Limits, Service

TASKS = {task.name: task for task in zoo.tasks()}
DATA = {"name": "none", "source": "none", "split": "none", "sha256": "", "classes": []}


def inputs_of(prediction, count):
    """Random inputs of a prediction; whole numbers are 0 or 1, which are good as indices."""
    rng = np.random.default_rng(0)
    made = {}
    for name, spec in prediction.inputs.items():
        shape, high = (count, *spec.shape), 256 if spec.dtype == np.uint8 else 2
        values = rng.uniform(size=shape) if spec.dtype.kind == "f" else rng.integers(0, high, shape)
        made[name] = values.astype(spec.dtype)
    return made


def random_weights(task, config):
    """Weights that no network would have; drawing them as the model does takes long to compile."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if leaf.dtype.kind != "f":
            return np.zeros(leaf.shape, leaf.dtype)
        spread = np.sqrt(2.0 / max(1, np.prod(leaf.shape[:-1])))
        values = rng.normal(scale=spread, size=leaf.shape).astype(leaf.dtype)
        return np.abs(values) + 0.5 if path[0].key == "stats" else values  # variances

    shapes = jax.eval_shape(task.weights, task.like(config))
    return jax.tree.map_with_path(draw, shapes)


@pytest.fixture(scope="module", params=TASKS.values(), ids=TASKS)
def model(request, tmp_path_factory):
    """A model with weights of its default recipe."""
    task = request.param
    config = next(iter(task.recipes.values()))
    folder = tmp_path_factory.mktemp("run")
    return Trained(task, config, random_weights(task, config), {"data": DATA}, folder)


@pytest.fixture(scope="module")
def exported(model):
    return load(export.export_run(model).location)


def test_an_exported_model_predicts_as_the_trained_one(model, exported):
    assert exported.source == "exported function"
    assert list(exported.predictions) == list(model.predictions)
    for name, prediction in model.predictions.items():
        inputs = inputs_of(prediction, 5)
        expected, found = model.predict(name, **inputs), exported.predict(name, inputs)
        assert set(found) == set(expected)
        for output, array in expected.items():
            spec = exported.predictions[name].outputs[output]
            assert (found[output].shape[1:], found[output].dtype) == (spec.shape, spec.dtype)
            np.testing.assert_allclose(found[output], array, rtol=1e-4, atol=1e-5)


def test_its_code_and_weights_do_the_same(model, exported):
    contents = export.build(model.task, model.config, model.weights, DATA)
    assert store.sha256(contents[export.MANIFEST]) == exported.digest  # the same bytes again
    assert not any(b"/zoo/" in bytes_ or b".py" in bytes_ for bytes_ in contents.values())
    manifest = json.loads(contents[export.MANIFEST])
    cause = ValueError("too old")
    functions, weights = export._from_code("here", contents, manifest, cause)
    for name, prediction in model.predictions.items():
        inputs = inputs_of(prediction, 2)
        found, expected = jax.jit(functions[name])(weights, inputs), exported.predict(name, inputs)
        for output, array in expected.items():
            np.testing.assert_allclose(found[output], array, rtol=1e-4, atol=1e-5)


@contextlib.asynccontextmanager
async def serving(exported):
    """A client of the app, without a port."""
    service = Service(exported, Limits(max_batch=1), None)
    await service.start()
    transport = httpx.ASGITransport(server.App(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client
    await service.close()


def test_each_prediction_is_served(model, exported):
    async def talk():
        async with serving(exported) as client:
            about = (await client.get("/v1/model")).json()
            schema = (await client.get("/openapi.json")).json()
            page = await client.get("/")
            assert ("drop" in page.text) == (about["classifies"] and bool(about["image_shape"]))
            first = next(iter(model.predictions))
            main, named = (schema["paths"][f"/v1/predict{x}"]["post"] for x in ("", f"/{first}"))
            assert {**main, "operationId": ""} == {**named, "operationId": ""}
            assert main["security"] == []
            for name in model.predictions:
                body = schema["paths"][f"/v1/predict/{name}"]["post"]["requestBody"]["content"]
                sent = body["application/json"]["schema"]
                sent = sent["oneOf"][0] if "oneOf" in sent else sent
                given = model.predictions[name].inputs
                assert set(sent["properties"]["inputs"]["required"]) == set(given)
                await check(client, name, about["predictions"][name])

    async def check(client, name, about):
        signature = exported.predictions[name]
        inputs = inputs_of(signature, 1)
        expected = exported.predict(name, inputs)
        body = {"inputs": {n: array[0].tolist() for n, array in inputs.items()}}
        response = await client.post(f"/v1/predict/{name}?top_k=999", json=body)
        assert response.status_code == 200, response.text
        same(response.json(), expected, exported.classes)
        assert about["takes_picture"] == (signature.picture is not None)
        if signature.picture is not None:
            file = io.BytesIO()
            PIL.Image.fromarray(next(iter(inputs.values()))[0]).save(file, "PNG")
            response = await client.post(f"/v1/predict/{name}", files={"image": file.getvalue()})
            assert response.status_code == 200, response.text
        if about["picture"]:
            accept = {"accept": "image/png"}
            response = await client.post(f"/v1/predict/{name}", json=body, headers=accept)
            assert response.headers["content-type"] == "image/png"
            drawn = np.asarray(PIL.Image.open(io.BytesIO(response.content)))
            wanted = 255 * np.clip(expected[about["picture"]][0], 0, 1)
            np.testing.assert_allclose(drawn, wanted, atol=0.51)
        response = await client.post(f"/v1/predict/{name}", json={"inputs": {"none": 1}})
        assert response.status_code == 422
        assert all(n in response.json()["detail"] for n in signature.inputs)

    asyncio.run(talk())


def same(answer, expected, classes):
    """Whether an answer has the values of an export."""
    if "predictions" in answer:
        found = {one["label"]: one["probability"] for one in answer["predictions"]}
        values = [found[name] for name in classes]
        np.testing.assert_allclose(values, expected["probabilities"][0], atol=2e-6)
        return
    assert set(answer["outputs"]) == set(expected)
    for name, array in expected.items():
        found = np.array(answer["outputs"][name], float)  # None, for infinities, becomes NaN
        np.testing.assert_allclose(found, np.where(np.isfinite(array[0]), array[0], np.nan), 1e-4)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_published_model_needs_no_run(task, tmp_path):
    if not trained._path(task).is_file():
        pytest.skip("none is published")
    model = trained.published(task)
    exported = load(export.export_run(model, str(tmp_path / "model")).location)
    data = model.about["data"]
    assert exported.manifest["data"]["name"] == data["name"]
    assert exported.manifest["about"].endswith(f", trained on {data['name']}")
    name, prediction = next(iter(model.predictions.items()))
    inputs = inputs_of(prediction, 2)
    for output, array in model.predict(**inputs).items():
        np.testing.assert_allclose(exported.predict(name, inputs)[output], array, 1e-3, 1e-4)


def test_an_export_of_a_run_on_the_sample_does_not_name_the_real_data_set():
    model = trained.published("ch03_mnist_ae_rbm")
    data = {**model.about["data"], "source": "sample"}
    contents = export.build(model.task, model.config, model.weights, data)
    about = json.loads(contents[export.MANIFEST])["about"]
    assert about == "a feed-forward network, trained on the built-in sample"


def test_a_run_is_found_by_its_name():
    assert all(trained.find(name) is task for name, task in TASKS.items())
    with pytest.raises(run.RunError, match="ch06_cnn/nothing"):
        trained.find("ch06_cnn/nothing")
