"""Exported models: the same numbers, the same bytes, and nothing used that was changed."""

import dataclasses
import hashlib
import json
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch10_deploy import ExportError, export, export_run, load, store
from zoo.common.task import Prediction


def write(folder, contents, **changed):
    """Writes an exported model with some files changed, and a manifest that says nothing of it."""
    store.write_folder(folder, contents | changed)
    return folder


def agree(contents, name, content):
    """The files with one of them changed, and the manifest in agreement with it."""
    manifest = json.loads(contents[export.MANIFEST])
    sha256 = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"sha256": sha256, "bytes": len(content)}
    return contents | {name: content, export.MANIFEST: json.dumps(manifest).encode()}


@pytest.fixture(scope="module")
def probabilities(main):
    """The probabilities that an exported model gives for images."""
    return lambda model, images: model.predict(main, {"image": images})["probabilities"]


@pytest.fixture
def expected(pictures, model):
    return model.predict(image=pictures)["probabilities"]


def test_a_loaded_model_predicts_as_its_chapter_does(
    exported, pictures, expected, data, main, probabilities
):
    model = load(exported)
    assert model.source == "exported function"
    assert model.classes == tuple(data["classes"])
    assert model.classifies(main)
    assert model.predictions[main].picture == (32, 32, 3)
    np.testing.assert_allclose(probabilities(model, pictures), expected, atol=1e-6)
    np.testing.assert_allclose(probabilities(model, pictures[:3]), expected[:3], atol=1e-6)
    assert probabilities(model, pictures[:0]).shape == (0, 10)


def test_more_images_than_a_batch_go_through_in_pieces(exported, probabilities):
    images = np.random.default_rng(1).integers(0, 256, (70, 32, 32, 3), np.uint8)
    model = load(exported)
    parts = [probabilities(model, images[:64]), probabilities(model, images[64:])]
    np.testing.assert_allclose(probabilities(model, images), np.concatenate(parts), atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 28, 28, 3), (32, 32, 3), (2, 32, 32)])
def test_a_wrong_shape_is_named(exported, shape, main):
    with pytest.raises(ExportError, match="expected uint8"):
        load(exported).predict(main, {"image": np.zeros(shape, np.uint8)})


def test_other_predictions_and_inputs_are_named(exported, pictures, main):
    with pytest.raises(ExportError, match=f"no prediction 'sing', expected {main}"):
        load(exported).predict("sing", {"image": pictures})
    with pytest.raises(ExportError, match="got the inputs picture, expected image"):
        load(exported).predict(main, {"picture": pictures})


def test_an_export_has_the_same_bytes_again_and_no_path_of_this_machine(contents, model, data):
    again = export.build(model.task, model.config, model.weights, data)
    assert again == contents
    assert not any(b"/zoo/" in bytes_ or b".py" in bytes_ for bytes_ in contents.values())


def test_the_manifest_says_what_the_model_is(contents, main, model):
    manifest = json.loads(contents[export.MANIFEST])
    described = manifest["predictions"][main]
    assert described["about"] == model.predictions[main].about
    assert described["inputs"]["image"] == {"shape": ["batch", 32, 32, 3], "dtype": "uint8"}
    assert described["outputs"]["probabilities"] == {"shape": ["batch", 10], "dtype": "float32"}
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    assert manifest["versions"]["jax"] == jax.__version__
    for name, about in manifest["files"].items():
        assert about["sha256"] == hashlib.sha256(contents[name]).hexdigest()


@pytest.mark.parametrize("name", [export.WEIGHTS, export.CONFIG, export.FUNCTION])
def test_a_changed_file_is_refused_by_name(contents, tmp_path, name, main):
    name = main + name if name == export.FUNCTION else name
    content = bytearray(contents[name])
    content[len(content) // 2] ^= 1
    write(tmp_path / "model", contents, **{name: bytes(content)})
    with pytest.raises(ExportError, match=f"{name} was changed"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"files": {}},
        {"files": {"../keys.json": {"sha256": "", "bytes": 1}}},
        {"classes": 3},
        {"predictions": {}},
        {"predictions": {"../a": {"about": "", "inputs": {}, "outputs": {}}}},
        {"predictions": {"a": {"about": "", "inputs": {"x": {"shape": ["batch", -1]}}}}},
        {"versions": None},
    ],
)
def test_a_manifest_that_is_none_is_refused(contents, tmp_path, change):
    manifest = json.loads(contents[export.MANIFEST]) | change
    write(tmp_path / "model", contents, **{export.MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(ExportError, match=r"manifest\.json|format 1"):
        load(tmp_path / "model")


def test_garbage_in_place_of_the_manifest_and_a_missing_one_are_refused(contents, tmp_path):
    write(tmp_path / "model", contents, **{export.MANIFEST: b"\xff{"})
    with pytest.raises(ExportError, match=r"manifest\.json can't be read"):
        load(tmp_path / "model")
    with pytest.raises(store.StoreError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_the_digest_pins_a_model(exported, contents):
    digest = hashlib.sha256(contents[export.MANIFEST]).hexdigest()
    assert load(exported, digest).digest == digest
    with pytest.raises(ExportError, match=f"SHA-256 is {digest}, expected 00"):
        load(exported, "00")


def blob_of_version(content, version):
    """The exported function under another version of its calling convention."""
    exported = jax.export.deserialize(bytearray(content))
    return bytes(dataclasses.replace(exported, calling_convention_version=version).serialize())


@pytest.mark.parametrize("blob", [5, 99, b"no flatbuffer at all", b""])
def test_a_function_that_this_jax_cannot_read_gives_way_to_the_code(
    contents, tmp_path, capsys, pictures, expected, blob, main, probabilities
):
    name = main + export.FUNCTION
    content = blob if isinstance(blob, bytes) else blob_of_version(contents[name], blob)
    write(tmp_path / "model", agree(contents, name, content))
    model = load(tmp_path / "model")
    assert model.source == "code"
    assert "can't read the exported function" in capsys.readouterr().out
    np.testing.assert_allclose(probabilities(model, pictures), expected, atol=1e-6)


def test_where_neither_function_nor_code_fits_both_reasons_are_given(contents, tmp_path, main):
    config = json.loads(contents[export.CONFIG])
    config["config"]["hidden"] = 9
    changed = agree(contents, main + export.FUNCTION, b"nothing")
    write(tmp_path / "model", agree(changed, export.CONFIG, json.dumps(config).encode()))
    with pytest.raises(ExportError, match=r"neither the exported function .* another model"):
        load(tmp_path / "model")


def test_what_a_function_takes_is_what_the_manifest_says(contents, tmp_path, main):
    manifest = json.loads(contents[export.MANIFEST])
    manifest["predictions"][main]["inputs"]["image"]["shape"] = ["batch", 16, 16, 3]
    write(tmp_path / "model", contents, **{export.MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(ExportError, match=r"neither .* the manifest says .*\(16, 16, 3\)"):
        load(tmp_path / "model")


def test_a_classifier_whose_data_name_no_classes_gets_numbers(model, data, tmp_path):
    made = export.build(model.task, model.config, model.weights, {**data, "classes": []})
    write(tmp_path / "model", made)
    assert load(tmp_path / "model").classes == tuple("0123456789")


def test_a_run_that_drops_in_predictions_is_refused(model, data):
    bug = {"batch_norm": False, "dropout_dense": 0.5, "dropout_bug": True}
    dropping = dataclasses.replace(model.config, **bug)
    params = model.task.model.init(jax.random.key(0), dropping)
    weights = {"params": params, "stats": model.task.stats(dropping, params)}
    with pytest.raises(ExportError, match="probabilities that depends on an example's place"):
        export.build(model.task, dropping, weights, data)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x[-1:], r"last returns a y that depends on .* place"),
        (lambda x: x + jnp.arange(len(x))[:, None], r"last returns a y that depends on .* place"),
        (lambda x: x + jnp.zeros(len(x))[:, None], r"use x\.shape\[0\] in place of len"),
    ],
)
def test_a_function_that_is_not_one_row_for_each_example_is_refused(model, data, wrong, message):
    def last(weights, inputs):
        return {"y": wrong(inputs["x"])}

    inputs = {"x": jax.ShapeDtypeStruct((2,), np.float32)}
    predictions = {"last": Prediction("the last row", inputs, last)}
    task = dataclasses.replace(model.task, predictions=lambda config: predictions)
    with pytest.raises(ExportError, match=message):
        export.build(task, model.config, model.weights, data)


def test_a_missing_package_is_named_with_the_extra(model, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    monkeypatch.delitem(sys.modules, "jax._src.export.serialization", raising=False)
    with pytest.raises(ExportError, match=r"pip install -e '\.\[serve\]'"):
        export.build(model.task, model.config, model.weights, data)


def test_a_model_is_exported_once_and_never_over_another_one(model, tmp_path, contents, main):
    zeros = jax.tree.map(jnp.zeros_like, model.weights)
    other = dataclasses.replace(model, weights=zeros, folder=tmp_path)
    first = export_run(other)
    assert first.location == str(tmp_path / "export")
    assert not first.was_there
    assert export_run(other) == first._replace(was_there=True)
    images = {"image": np.zeros((1, 32, 32, 3), np.uint8)}
    assert load(first.location, first.digest).predict(main, images)["probabilities"].any()
    write(tmp_path / "other", contents)
    with pytest.raises(ExportError, match="holds another model"):
        export_run(other, str(tmp_path / "other"))
