import dataclasses
import io
import json

import jax
import numpy as np
import pytest

from zoo.ch10_deploy import batch, export


@dataclasses.dataclass
class Model:
    """Stands for an exported model: its probabilities are the shares of the first bytes."""

    digest: str = "model 1"
    classes: tuple[str, ...] = ("cat", "dog", "ship")
    calls: int = 0
    labels: bool = True

    @property
    def manifest(self):
        return {"model": "ch99_model"}

    @property
    def predictions(self):
        picture = {"picture": jax.ShapeDtypeStruct((32, 32, 3), np.uint8)}
        return {"main": export.Signature("", picture, {})}

    def classifies(self, name):
        return self.labels

    def predict(self, name, inputs):
        assert name == "main"
        self.calls += 1
        return {"probabilities": self.probabilities(inputs["picture"])}

    def probabilities(self, images):
        scores = images.reshape(len(images), images[:1].size or 3072)[:, :3].astype(np.float32) + 1
        return scores / scores.sum(axis=1, keepdims=True)


@pytest.fixture
def model(monkeypatch):
    made = Model()
    monkeypatch.setattr(export, "load", lambda location: made)
    return made


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(3)
    content = rng.integers(0, 256, (11, batch.RECORD), np.uint8)
    content[:, 0] %= 3
    return content


@pytest.fixture
def file(tmp_path, records):
    (tmp_path / "a.bin").write_bytes(records[:7].tobytes())
    (tmp_path / "b.bin").write_bytes(records[7:].tobytes())
    return f"{tmp_path / 'a.bin'},{tmp_path / 'b.bin'}"


def merged(out):
    return np.load(out / "predictions.npz", allow_pickle=False)


@pytest.mark.parametrize("shards", [1, 3, 13])
def test_merged_shards_equal_one_pass_in_order(shards, model, file, records, tmp_path):
    out = tmp_path / "out"
    for shard in reversed(range(shards)):
        batch.run("model", file, str(out), shard, shards)
    batch.run("model", file, str(out), shards=shards, merge=True)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    expected = Model().probabilities(images)
    np.testing.assert_array_equal(merged(out)["probability"], expected)
    np.testing.assert_array_equal(merged(out)["label"], expected.argmax(-1))
    assert merged(out)["classes"].tolist() == ["cat", "dog", "ship"]
    about = json.loads((out / "predictions.json").read_text())
    assert about["agree"] == (expected.argmax(-1) == records[:, 0]).sum()
    assert about["count"] == 11


def test_the_merged_bytes_do_not_depend_on_the_number_of_shards(model, file, tmp_path):
    for shards in (1, 4):
        out = tmp_path / str(shards)
        for shard in range(shards):
            batch.run("model", file, str(out), shard, shards)
        batch.run("model", file, str(out), shards=shards, merge=True)
    for name in ("predictions.npz", "predictions.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()


def test_a_shard_that_is_there_is_not_predicted_again(model, file, tmp_path, capsys):
    batch.run("model", file, str(tmp_path / "out"), 1, 3)
    batch.run("model", file, str(tmp_path / "out"), 1, 3)
    assert model.calls == 1
    assert "predicted before" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["model", "images", "bytes", "rubbish", "half"])
def test_it_is_predicted_again_after_a_change(change, model, file, records, tmp_path):
    out = tmp_path / "out"
    batch.run("model", file, str(out), 1, 3)
    path = out / "shard-00001-of-00003.npz"
    if change == "model":
        model.digest = "model 2"
    elif change == "images":
        (tmp_path / "b.bin").write_bytes(records[6:].tobytes())
    elif change == "bytes":
        content = bytearray(path.read_bytes())
        content[150] ^= 1  # within the probabilities
        path.write_bytes(content)
    elif change == "rubbish":
        path.write_bytes(b"rubbish")
    else:
        path.write_bytes(path.read_bytes()[:200])
    batch.run("model", file, str(out), 1, 3)
    assert model.calls == 2
    assert np.load(path)["probability"].shape == (4, 3)


def test_only_a_classifier_of_pictures_is_run(model, file, tmp_path):
    model.labels = False
    with pytest.raises(batch.ShardError, match="ch99_model does not classify pictures"):
        batch.run("model", file, str(tmp_path / "out"))


@pytest.mark.parametrize(("count", "shards"), [(0, 1), (1, 1), (11, 3), (10, 4), (2, 5), (100, 7)])
def test_shards_are_even_and_leave_nothing_out(count, shards):
    cuts = [batch.bounds(count, shard, shards) for shard in range(shards)]
    assert [n for start, end in cuts for n in range(start, end)] == [*range(count)]
    sizes = [end - start for start, end in cuts]
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_that_is_missing_is_named(model, file, tmp_path):
    out = tmp_path / "out"
    batch.run("model", file, str(out), 0, 2)
    batch.run("model", file, str(out), 1, 2)
    (out / "shard-00001-of-00002.npz").unlink()
    with pytest.raises(batch.ShardError, match="lacks shard 1 of 2"):
        batch.run("model", file, str(out), shards=2, merge=True)


def test_shards_of_different_models_are_not_merged(model, file, tmp_path):
    batch.run("model", file, str(tmp_path), 0, 2)
    model.digest = "model 2"
    batch.run("model", file, str(tmp_path), 1, 2)
    with pytest.raises(batch.ShardError, match="is of other model than shard 0"):
        batch.run("model", file, str(tmp_path), shards=2, merge=True)


def test_damaged_predictions_are_not_merged(model, file, tmp_path):
    batch.run("model", file, str(tmp_path))
    path = tmp_path / "shard-00000-of-00001.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(batch.ShardError, match="lacks shard 0 of 1, or it is damaged"):
        batch.run("model", file, str(tmp_path), merge=True)


def test_an_indexed_job_gives_the_number_of_the_shard(monkeypatch):
    assert batch.which(None, None) == (0, 1)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "7")
    assert batch.which(None, 10) == (7, 10)
    assert batch.which(2, 10) == (2, 10)
    with pytest.raises(batch.ShardError, match="give --shards N"):
        batch.which(None, None)
    with pytest.raises(batch.ShardError, match="got shard 7 of 5, expected 0 to 4"):
        batch.which(None, 5)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "-1")
    with pytest.raises(batch.ShardError, match="JOB_COMPLETION_INDEX is '-1'"):
        batch.which(None, 5)


def test_archives_and_arrays_are_read_with_and_without_labels(tmp_path):
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    np.savez(tmp_path / "a.npz", image=images, label=np.array([1, 2]))
    np.save(tmp_path / "b.npy", images)
    labelled = batch.read_images([str(tmp_path / "a.npz")])
    assert labelled.labels.tolist() == [1, 2]
    both = batch.read_images([str(tmp_path / "a.npz"), str(tmp_path / "b.npy")])
    assert both.labels is None
    np.testing.assert_array_equal(both.pixels, np.concatenate([images, images]))


def saved(save, *arrays, **named):
    content = io.BytesIO()
    save(content, *arrays, **named)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.bin", b"12345", "has 5 bytes, expected whole records of 3,073"),
        ("a.bin", b"", "has 0 bytes"),
        ("a.txt", b"hello", "is none of .bin, .npz and .npy"),
        ("a.npy", b"hello", "can't be read as images"),
        ("a.npz", b"hello", "can't be read as images"),
        ("a.npz", saved(np.savez, picture=np.zeros(3)), "can't be read as images"),
        ("a.npy", saved(np.save, np.zeros((2, 8, 8))), "float64 of shape .* expected uint8"),
        ("a.npy", saved(np.save, np.array([{}], object)), "can't be read as images"),
    ],
)
def test_what_is_no_file_of_images_is_refused(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(batch.ShardError, match=said):
        batch.read_images([str(tmp_path / name)])


def test_images_of_two_shapes_are_not_mixed(tmp_path):
    for size in (8, 9):
        np.save(tmp_path / f"{size}.npy", np.zeros((2, size, size), np.uint8))
    with pytest.raises(batch.ShardError, match="put images of one shape together"):
        batch.read_images([str(tmp_path / f"{size}.npy") for size in (8, 9)])


def test_shards_lie_behind_a_url_as_well(model, file, tmp_path):
    pytest.importorskip("fsspec")
    batch.run("model", file, "memory://bucket/out", 0, 1)
    batch.run("model", file, "memory://bucket/out", 0, 1)
    assert model.calls == 1
    batch.run("model", file, "memory://bucket/out", merge=True)
