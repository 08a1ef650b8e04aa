"""Exported models: the same numbers, the same bytes, and nothing used that was changed."""

import dataclasses
import hashlib
import json
import sys

import jax
import jax.export
import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import feedforward
from zoo.ch03_mnist_ae_rbm import train as digits
from zoo.ch06_cnn.train import predict_probabilities, start
from zoo.ch10_deploy import ExportError, export, export_run, load, store
from zoo.common import checkpoint, cli, run


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


@pytest.fixture
def expected(pictures, config, weights):
    return predict_probabilities(config, weights["params"], weights["stats"], pictures)


def test_a_loaded_model_predicts_as_its_chapter_does(exported, pictures, expected, data):
    model = load(exported)
    assert model.source == "exported function"
    assert model.classes == tuple(data["classes"])
    np.testing.assert_allclose(model.predict(pictures), expected, atol=1e-6)
    np.testing.assert_allclose(model.predict(pictures[:3]), expected[:3], atol=1e-6)
    assert model.predict(pictures[:0]).shape == (0, 10)


def test_more_images_than_a_batch_go_through_in_pieces(exported):
    images = np.random.default_rng(1).integers(0, 256, (70, 32, 32, 3), np.uint8)
    model = load(exported)
    parts = [model.predict(images[:64]), model.predict(images[64:])]
    np.testing.assert_allclose(model.predict(images), np.concatenate(parts), atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 28, 28, 3), (32, 32, 3), (2, 32, 32)])
def test_a_wrong_shape_is_named(exported, shape):
    with pytest.raises(ExportError, match="expected uint8"):
        load(exported).predict(np.zeros(shape, np.uint8))


def test_an_export_has_the_same_bytes_again_and_no_path_of_this_machine(
    contents, config, weights, data
):
    again = export.build("ch06_cnn", config, weights, {"data": data})
    assert again == contents
    assert not any(b"/zoo/" in bytes_ or b".py" in bytes_ for bytes_ in contents.values())


def test_the_manifest_says_what_the_model_is(contents):
    manifest = json.loads(contents[export.MANIFEST])
    assert manifest["input"] == {"shape": ["batch", 32, 32, 3], "dtype": "uint8"}
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    assert manifest["versions"]["jax"] == jax.__version__
    for name, about in manifest["files"].items():
        assert about["sha256"] == hashlib.sha256(contents[name]).hexdigest()


@pytest.mark.parametrize("name", [export.WEIGHTS, export.CONFIG, export.FUNCTION])
def test_a_changed_file_is_refused_by_name(contents, tmp_path, name):
    content = bytearray(contents[name])
    content[len(content) // 2] ^= 1
    write(tmp_path / "model", contents, **{name: bytes(content)})
    with pytest.raises(ExportError, match=f"{name} was changed"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"files": {}},
        {"files": {"../keys.json": {"sha256": "", "bytes": 1}}},
        {"classes": 3},
        {"input": {"shape": ["batch", -1]}},
        {"versions": None},
    ],
)
def test_a_manifest_that_is_none_is_refused(contents, tmp_path, change):
    manifest = json.loads(contents[export.MANIFEST]) | change
    write(tmp_path / "model", contents, **{export.MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(ExportError, match=r"manifest\.json|format 2"):
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


def blob_of_version(contents, version):
    """The exported function under another version of its calling convention."""
    exported = jax.export.deserialize(bytearray(contents[export.FUNCTION]))
    return bytes(dataclasses.replace(exported, calling_convention_version=version).serialize())


@pytest.mark.parametrize("blob", [5, 99, b"no flatbuffer at all", b""])
def test_a_function_that_this_jax_cannot_read_gives_way_to_the_code(
    contents, tmp_path, capsys, pictures, expected, blob
):
    content = blob if isinstance(blob, bytes) else blob_of_version(contents, blob)
    write(tmp_path / "model", agree(contents, export.FUNCTION, content))
    model = load(tmp_path / "model")
    assert model.source == "code"
    assert "can't read the exported function" in capsys.readouterr().out
    np.testing.assert_allclose(model.predict(pictures), expected, atol=1e-6)


def test_where_neither_function_nor_code_fits_both_reasons_are_given(contents, tmp_path):
    config = json.loads(contents[export.CONFIG])
    config["config"]["hidden"] = 9
    changed = agree(contents, export.FUNCTION, b"nothing")
    write(tmp_path / "model", agree(changed, export.CONFIG, json.dumps(config).encode()))
    with pytest.raises(ExportError, match=r"neither the exported function .* another model"):
        load(tmp_path / "model")


def test_a_model_of_chapter_3_is_exported_too(tmp_path, data):
    config = feedforward.Config(hidden=(8,), pixels="book")
    params = jax.jit(lambda: feedforward.init(jax.random.key(0), config))()
    content = {"data": {**data, "classes": []}}
    made = export.build("ch03_feedforward", config, {"params": params}, content)
    write(tmp_path / "model", made)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    images[0, 0] = 255
    expected = digits.predict_probabilities(config, params, images)
    model = load(tmp_path / "model")
    assert model.classes == tuple("0123456789")
    np.testing.assert_allclose(model.predict(images), expected, atol=1e-6)
    write(tmp_path / "old", agree(made, export.FUNCTION, b"too old"))
    np.testing.assert_allclose(load(tmp_path / "old").predict(images), expected, atol=1e-6)


def test_a_run_that_drops_in_predictions_is_refused(config, weights, data):
    dropping = dataclasses.replace(config, dropout_bug=True)
    with pytest.raises(ValueError, match="place in the batch"):
        export.build("ch06_cnn", dropping, weights, {"data": data})


def test_a_missing_package_is_named_with_the_extra(config, weights, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    monkeypatch.delitem(sys.modules, "jax._src.export.serialization", raising=False)
    with pytest.raises(ExportError, match=r"pip install -e '\.\[serve\]'"):
        export.build("ch06_cnn", config, weights, {"data": data})


@pytest.fixture
def trained(tmp_path, monkeypatch, config, data):
    """A run's folder with a checkpoint, as `train` leaves it."""
    monkeypatch.chdir(tmp_path)
    folder = run.create("ch06_cnn", config, data, tmp_path / "trained")

    def empty(leaf):  # drawing weights would take seconds to compile
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key(0) if is_key else jax.numpy.zeros(leaf.shape, leaf.dtype)

    state = jax.eval_shape(lambda: start(config, 100)[1])
    checkpoint.save(folder, jax.tree.map(empty, state), {})
    return cli.Trained(run=folder, device="cpu")


def test_a_run_is_exported_once_and_never_over_another_model(trained, tmp_path, contents):
    first = export_run("ch06_cnn", trained)
    assert first.location == str(trained.run / "export")
    assert not first.was_there
    assert export_run("ch06_cnn", trained) == first._replace(was_there=True)
    assert load(first.location, first.digest).predict(np.zeros((1, 32, 32, 3), np.uint8)).any()
    other = write(tmp_path / "other", contents)
    with pytest.raises(ExportError, match="holds another model"):
        export_run("ch06_cnn", trained, str(other))
    with pytest.raises(ExportError, match="no model 'ch99'"):
        export_run("ch99", trained)
    with pytest.raises(run.RunError, match="is a run of ch06_cnn"):
        export_run("ch03_feedforward", trained)
