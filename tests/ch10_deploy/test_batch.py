"""Batches: what is read, what is written, and Ray with workers and nodes killed."""

import io
import json
import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zoo.ch10_deploy import batch, export, load, sources
from zoo.common.data import DataError

arrow = pytest.importorskip("pyarrow", reason="batches need the extra `batch`")
parquet = pytest.importorskip("pyarrow.parquet")
SHAPE = (32, 32, 3)


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def records(images, labels):
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([np.uint8(labels)[:, None], rows], 1).tobytes()


def png(image):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def saved(save, *arrays, **named):
    content = io.BytesIO()
    save(content, *arrays, **named)
    return content.getvalue()


def in_parquet(images, labels=None):
    columns = {"image": arrow.array(images)}
    if labels is not None:
        columns["label"] = arrow.array(labels)
    content = io.BytesIO()
    parquet.write_table(arrow.table(columns), content)
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Files of every kind with 7, 6, 5, 4, 3 and 8 images; what the model is to see, in order."""
    images = pixels(33)
    parts = np.split(images, [7, 13, 18, 22, 25])
    place = tmp_path / "images"
    (place / "e").mkdir(parents=True)
    (place / "a.bin").write_bytes(records(parts[0], np.arange(7)))
    np.save(place / "b.npy", parts[1])
    np.savez_compressed(place / "c.npz", image=parts[2], label=np.arange(5))
    (place / "d.parquet").write_bytes(in_parquet([png(one) for one in parts[3]], range(4)))
    for number, one in enumerate(parts[4]):
        (place / "e" / f"{number}.png").write_bytes(png(one))
    (place / "e" / "notes.txt").write_text("passed over")
    (place / "e" / ".hidden.png").write_text("passed over")
    (place / "f.parquet").write_bytes(in_parquet(list(parts[5].reshape(8, -1))))
    return place, images


@pytest.fixture
def job(exported, tmp_path):
    _, digest = export.read_manifest(exported)
    return batch.Job(str(exported), digest, str(tmp_path / "out"), SHAPE, False, 64)


def work(job, found):
    """Reads and classifies in this process, as one worker does."""
    worker = batch.Worker(job, "cpu")
    made = []
    for number, paths in enumerate(found):
        for block in batch.read({"unit": number, "paths": paths}, job):
            done = worker({name: [value] for name, value in block.items()})
            made.append(json.loads(done["about"][0]))
    return made


def table(out):
    found = [parquet.read_table(path) for path in sorted(Path(out).glob("part-*.parquet"))]
    return arrow.concat_tables(found)


def probabilities(rows):
    return np.stack(rows["probabilities"].to_numpy())


def test_every_kind_of_file_is_read_in_order(folder, job, exported, main):
    place, images = folder
    made = work(job, sources.units([str(place)], 2))
    rows, model = table(job.out), load(exported)
    expected = model.predict(main, {"image": images})["probabilities"]
    np.testing.assert_allclose(probabilities(rows), expected, rtol=1e-5, atol=1e-7)
    names = [Path(path).name for path in rows["path"].to_pylist()]
    counts = {"a.bin": 7, "b.npy": 6, "c.npz": 5, "d.parquet": 4, "f.parquet": 8}
    assert names == [
        *["a.bin"] * 7,
        *["b.npy"] * 6,
        *["c.npz"] * 5,
        *["d.parquet"] * 4,
        *["0.png", "1.png", "2.png"],
        *["f.parquet"] * 8,
    ]
    index = rows["index"].to_pylist()
    assert index == [n for name in dict.fromkeys(names) for n in range(counts.get(name, 1))]
    assert rows["label"].to_pylist() == [model.classes[n] for n in expected.argmax(-1)]
    assert set(rows["model"].to_pylist()) == {job.digest}
    assert [part["count"] for part in made] == [7, 6, 5, 4, 2, 1, 8]
    agree = (expected.argmax(-1)[:7] == np.arange(7)).sum()
    assert made[0]["agree"] == agree
    assert made[1]["agree"] is None
    assert not any(part["faults"] for part in made)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.bin", b"12345", "has 5 bytes, expected whole records of 3,073"),
        ("a.bin", b"", "has 0 bytes"),
        ("a.npy", b"hello", "can't be read: .*magic string"),
        ("a.npy", saved(np.save, pixels(3))[:-1], "cut off: it ends within image 2"),
        ("a.npy", saved(np.save, np.zeros((2, 32, 32, 3))), "float64 of shape .* expected uint8"),
        ("a.npy", saved(np.save, np.zeros((2, 8, 8), np.uint8)), r"\(2, 8, 8\), expected uint8"),
        ("a.npy", saved(np.save, np.array([{}], object)), "expected uint8"),
        ("a.npz", b"hello", "not a zip file"),
        ("a.npz", saved(np.savez, picture=np.zeros(3)), "the arrays picture, expected image"),
        ("a.npz", saved(np.savez, image=pixels(2), label=np.zeros((2, 3))), "expected 2 whole"),
        ("a.parquet", b"hello", "can't be read: Parquet"),
        ("a.parquet", in_parquet(["text"]), "has string, expected picture files"),
        ("a.parquet", in_parquet([[1, 2]]), "expected picture files or uint8"),
        ("a.parquet", in_parquet([[-1] * 3072]), "values from -1 to 0"),
        ("a.png", b"hello", "can't be read as a picture"),
    ],
)
def test_a_damaged_file_is_named_and_the_others_are_classified(name, content, said, job, tmp_path):
    place = tmp_path / "images"
    place.mkdir()
    (place / name).write_bytes(content)
    np.save(place / "b.npy", pixels(3))
    made = work(job, sources.units([str(place)], 4))
    (fault,) = (fault for one in made for fault in one["faults"])
    assert fault.startswith(str(place / name))
    assert re.search(said, fault), fault
    rows = table(job.out)
    assert rows["path"].to_pylist() == [str(place / "b.npy")] * 3


def test_of_pictures_only_the_damaged_one_is_left_out(job, tmp_path):
    images, place = pixels(4), tmp_path / "images"
    place.mkdir()
    for number in (0, 2, 3):
        (place / f"{number}.png").write_bytes(png(images[number]))
    (place / "1.png").write_bytes(b"rubbish")
    (one,) = work(job, sources.units([str(place)], 4))
    assert [Path(path).name for path in table(job.out)["path"].to_pylist()] == [
        "0.png",
        "2.png",
        "3.png",
    ]
    (fault,) = one["faults"]
    assert str(place / "1.png") in fault
    (again,) = work(job, sources.units([str(place)], 4))
    assert again["before"]
    assert again["faults"] == one["faults"]


def test_nothing_is_taken_from_an_archive_with_a_wrong_checksum(job, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, image=pixels(200))
    content = bytearray(path.read_bytes())
    content[-5000] ^= 1  # in the last image
    path.write_bytes(content)
    (one,) = work(job, [[str(path)]])
    assert "image.npy in it has another checksum" in one["faults"][0]
    assert not list(Path(job.out).glob("part-*"))


@pytest.mark.parametrize("change", ["nothing", "model", "images", "name", "copy", "bit", "half"])
def test_what_is_written_whole_is_not_done_again(change, job, tmp_path):
    first, second = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(first, pixels(3))
    np.save(second, pixels(3, seed=1))
    found = [[str(first)], [str(second)]]
    work(job, found)
    part = Path(job.out) / "part-000000-000000.parquet"
    content = bytearray(part.read_bytes())
    if change == "model":
        part.write_bytes(bytes(content).replace(job.digest.encode(), b"0" * 64))
    elif change == "images":
        np.save(first, pixels(3, seed=2))
    elif change == "name":
        found = [[str(first.rename(tmp_path / "c.npy"))], found[1]]
    elif change == "copy":
        part.write_bytes((Path(job.out) / "part-000001-000000.parquet").read_bytes())
    elif change == "bit":
        content[60] ^= 1
        part.write_bytes(content)
    elif change == "half":
        part.write_bytes(content[: len(content) // 2])
    before = ["before" in about for about in work(job, found)]
    assert before == [change == "nothing", True]


def test_units_are_files_of_images_and_groups_of_pictures(tmp_path):
    for name in ("a.png", "b.jpg", "c.JPEG", "d.bin", "e.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    found = sources.units([str(tmp_path), str(tmp_path / "d.bin")], 2)
    names = [[Path(path).name for path in unit] for unit in found]
    assert names == [["a.png", "b.jpg"], ["c.JPEG"], ["d.bin"], ["e.png"], ["d.bin"]]
    with pytest.raises(DataError, match=r"notes.txt is none of .bin"):
        sources.units([str(tmp_path / "notes.txt")], 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there are no images"):
        sources.units([str(tmp_path / "empty")], 2)
    with pytest.raises(DataError, match="No such file"):
        sources.units([str(tmp_path / "nowhere")], 2)


def test_files_and_parts_lie_behind_urls_as_well(job, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    images = pixels(3)
    with fsspec.open("memory://bucket/in/a.npy", "wb") as file:
        file.write(saved(np.save, images))
    with fsspec.open("memory://bucket/in/b.png", "wb") as file:
        file.write(png(images[0]))
    found = sources.units(["memory://bucket/in"], 4)
    assert found == [["memory://bucket/in/a.npy"], ["memory://bucket/in/b.png"]]
    job = job._replace(out="memory://bucket/out")
    assert [one["count"] for one in work(job, found)] == [3, 1]
    assert all("before" in one for one in work(job, found))


def test_a_folder_belongs_to_one_job(tmp_path):
    record = {"model": "1", "images": ["a"], "rows": 64}
    batch._claim(str(tmp_path), record)
    batch._claim(str(tmp_path), record)
    with pytest.raises(batch.JobError, match="for another job, its images differs"):
        batch._claim(str(tmp_path), record | {"images": ["b"]})
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(batch.JobError, match="can't be read"):
        batch._claim(str(tmp_path), record)


def test_predictions_are_not_written_among_the_images(exported, tmp_path):
    pytest.importorskip("ray", reason="batches need the extra `batch`")
    with pytest.raises(batch.JobError, match=r"images/out lies within .*images"):
        batch.run(str(exported), str(tmp_path / "images"), str(tmp_path / "images" / "out"))


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(batch.JobError, match=r"pip install -e '\.\[batch\]'"):
        batch.run("model", "images", "out")


# ---- with Ray: two nodes on this machine


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="batches need the extra `batch`")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    node = made.add_node(**size)
    ray.init(address=made.address, log_to_driver=False)
    yield made, node
    ray.shutdown()
    made.shutdown()


PARTS = 60


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A folder with a file of 60 parts and one of three images; what the model is to see."""
    monkeypatch.setattr(batch, "ROWS", 64)
    images, place = pixels(PARTS * 64 - 5), tmp_path / "images"
    place.mkdir()
    (place / "a.bin").write_bytes(records(images[:-3], np.zeros(len(images) - 3)))
    np.save(place / "b.npy", images[-3:])
    return place, images


def disturbed(out, disturb, run):
    """Runs a job, and disturbs it when its first parts are written."""
    found = []

    def watch():
        while len(list(out.glob("part-*"))) < 3:
            time.sleep(0.02)
        disturb()
        found.append(len(list(out.glob("part-*"))))

    thread = threading.Thread(target=watch)
    thread.start()
    run()
    thread.join()
    assert found[0] < PARTS


def check(out, images, exported, main):
    """Each image once, in order, as one process predicts it, but for rounding."""
    rows = table(out)
    assert rows["index"].to_pylist() == [*range(len(images) - 3), 0, 1, 2]
    expected = load(exported).predict(main, {"image": images})["probabilities"]
    np.testing.assert_allclose(probabilities(rows), expected, rtol=1e-5, atol=1e-6)
    about = json.loads((out / "record.json").read_text())
    assert about["count"] == len(images)
    assert [part["part"] for part in about["parts"]] == sorted(p.name for p in out.glob("part-*"))


def kill_a_worker():
    psutil = pytest.importorskip("psutil")
    for process in psutil.process_iter(["cmdline"]):
        ours = os.getpid() in (parent.pid for parent in process.parents())
        if ours and "MapWorker" in " ".join(process.info["cmdline"] or ()):
            process.kill()
            return
    raise AssertionError("there is no worker")


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing_and_a_job_goes_on(
    cluster, many, exported, main, tmp_path, capsys
):
    (place, images), out = many, tmp_path / "out"

    def run():
        batch.run(str(exported), str(place), str(out), device="cpu")

    disturbed(out, kill_a_worker, run)
    check(out, images, exported, main)
    assert f"{len(images):,} images classified" in capsys.readouterr().out
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    lost, *others, _ = sorted(times)
    (out / lost).unlink()
    (place / "b.npy").write_bytes(b"rubbish")
    with pytest.raises(batch.JobError, match="1 of the files or pictures could not be read"):
        run()
    said = capsys.readouterr()
    assert str(place / "b.npy") in said.err
    assert f"{len(others)} of {len(others) + 1} parts were written before" in said.out
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert again.keys() == {lost, *others}  # what was made of the damaged file is gone as well
    assert all(again[name] == times[name] for name in others)
    assert table(out)["index"].to_pylist() == [*range(len(images) - 3)]


@pytest.mark.slow
def test_a_killed_node_loses_and_doubles_nothing(cluster, many, exported, main, tmp_path):
    (place, images), out, (made, node) = many, tmp_path / "out", cluster
    disturbed(
        out,
        lambda: made.remove_node(node, allow_graceful=False),
        lambda: batch.run(str(exported), str(place), str(out), device="cpu"),
    )
    check(out, images, exported, main)


@pytest.mark.slow
def test_the_command_starts_ray_and_ends_it(zoo, exported, tmp_path):
    pytest.importorskip("ray", reason="batches need the extra `batch`")
    psutil = pytest.importorskip("psutil")
    place = tmp_path / "images"
    place.mkdir()
    np.save(place / "a.npy", pixels(3))
    (place / "b.bin").write_bytes(b"123")
    done = zoo("ch10_deploy", "batch", exported, place, tmp_path / "out", "--device", "cpu")
    assert done.returncode == 1
    assert "3 images classified" in done.stdout
    assert f"error: {place / 'b.bin'}: has 3 bytes" in done.stderr
    assert "Traceback" not in done.stderr
    mine = psutil.Process().children(recursive=True)
    assert not [one for one in mine if str(tmp_path) in " ".join(one.cmdline())]
