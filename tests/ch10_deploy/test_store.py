"""Files in folders and behind URLs, the latter from a stand-in for S3 on this machine."""

import logging

import numpy as np
import pytest

from zoo.ch10_deploy import export, load, store

moto_server = pytest.importorskip("moto.server", reason="the stand-in for S3 needs moto[server]")
pytest.importorskip("s3fs", reason="reading s3:// needs s3fs")


@pytest.fixture(scope="module")
def bucket():
    """A bucket of a fresh S3 server; the environment says where, as it would on AWS."""
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="models")
        yield "s3://models"
    server.stop()


def test_a_model_goes_to_s3_and_back(bucket, contents, exported, pictures, main):
    store.write_folder(f"{bucket}/cnn/v1", contents)
    model = load(f"{bucket}/cnn/v1")
    assert model.digest == load(exported).digest
    found, expected = (m.predict(main, {"image": pictures}) for m in (model, load(exported)))
    np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])


def test_a_model_on_s3_that_was_changed_is_refused(bucket, contents):
    store.write_folder(f"{bucket}/changed", contents)
    store.write(f"{bucket}/changed/{export.WEIGHTS}", contents[export.WEIGHTS][::-1])
    with pytest.raises(export.ExportError, match="was changed"):
        load(f"{bucket}/changed")


def test_what_is_not_there_is_said(bucket):
    assert not store.exists(f"{bucket}/none/manifest.json")
    for url in (f"{bucket}/none", "s3://nobucket/model"):
        with pytest.raises(store.StoreError, match="no such file or bucket"):
            load(url)


def test_a_file_is_written_read_and_never_larger_than_its_limit(bucket, tmp_path):
    for place in (f"{bucket}/a", tmp_path / "a"):
        store.write(store.join(place, "b.bin"), b"12345")
        assert store.exists(store.join(place, "b.bin"))
        assert store.read(store.join(place, "b.bin"), 5) == b"12345"
        with pytest.raises(store.StoreError, match="more than 4 bytes"):
            store.read(store.join(place, "b.bin"), 4)


def test_without_a_server_the_url_is_named(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(store.StoreError, match="s3://models/x"):
        store.read("s3://models/x")


def test_an_unknown_scheme_is_an_error_in_words():
    with pytest.raises(store.StoreError, match="nope://x/y"):
        store.read("nope://x/y")


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(path, content):
        if path.name == "second":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "write_bytes", fail)
        with pytest.raises(store.StoreError, match="No space left"):
            store.write_folder(tmp_path / "model", {"first": b"1", "second": b"2"})
    assert not list(tmp_path.iterdir())
    store.write_folder(tmp_path / "model", {"first": b"1"})
    with pytest.raises(store.StoreError, match="cannot write"):
        store.write_folder(tmp_path / "model", {"first": b"2"})
    assert (tmp_path / "model" / "first").read_bytes() == b"1"
