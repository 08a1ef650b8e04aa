import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.common import checkpoint, fit
from zoo.common.checkpoint import CheckpointError

ROOT = Path(__file__).parents[2]


def state_at(step, optimizer=None, impl="threefry2x32", stats=None, width=16, width_2=10):
    """A state whose numbers are a function of its step; its kernels do not compress."""
    key = jax.random.fold_in(jax.random.key(3), step)
    names = ["embedding", "kernel", "kernel_2"]
    shapes = [(40, width), (width, width), (width, width_2)]
    arrays = [
        jax.random.normal(jax.random.fold_in(key, i), shape) for i, shape in enumerate(shapes)
    ]
    params = {"conv": [dict(zip(names, arrays, strict=True)), {"bias": jnp.zeros(width)}]}
    state = fit.start(
        params, optimizer or optax.sgd(0.1), jax.random.key(step, impl=impl), stats=stats
    )
    return state._replace(step=jnp.int32(step), totals={"loss": jnp.float32(step / 3)})


def bits(tree):
    """Every leaf as (dtype, shape, bytes), typed keys with their generator."""
    leaves = []
    for leaf in jax.tree.leaves(tree):
        assert isinstance(leaf, jax.Array)
        kind = ""
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            kind, leaf = str(jax.random.key_impl(leaf)), jax.random.key_data(leaf)
        leaves.append((kind, str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()))
    return jax.tree.structure(tree), leaves


def names_in(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def run(code, *args):
    """A Python process of its own with the lines `code`."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"},
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB in memory, and a function that makes it read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")

    def make_read_only():
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

    yield disk, make_read_only
    subprocess.run(["umount", str(disk)], check=True)


# ---- states


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize(
    "optimizer",
    [optax.sgd(0.1, momentum=0.9), optax.rmsprop(0.1, momentum=0.9), optax.adam(0.1)],
    ids=["momentum", "rmsprop", "adam"],
)
def test_a_state_comes_back_bit_for_bit(tmp_path, optimizer, impl):
    state = state_at(7, optimizer, impl)
    grads = jax.tree.map(jnp.ones_like, state.params)
    _, opt_state = optimizer.update(grads, state.opt_state, state.params)
    state = state._replace(opt_state=opt_state)
    path = checkpoint.save(tmp_path, state, {"seconds": 0.1, "epoch": 2})
    assert path == tmp_path / "checkpoints" / "7.safetensors"
    restored, notes = checkpoint.restore(tmp_path, state_at(0, optimizer, impl))
    assert bits(restored) == bits(state)
    assert notes == {"seconds": 0.1, "epoch": 2}


@pytest.mark.parametrize("stats", [None, [], [{"mean": jnp.ones(3)}, {}]], ids=str)
def test_statistics_come_back_whether_there_are_any_or_not(tmp_path, stats):
    state = state_at(1, stats=stats)
    checkpoint.save(tmp_path, state, {})
    restored, notes = checkpoint.restore(tmp_path, state_at(0, stats=stats))
    assert bits(restored) == bits(state)
    assert notes == {}


def test_every_bit_pattern_and_dtype_comes_back(tmp_path):
    words = np.array([0, 1 << 31, 1, 0x7F800000, 0x7FC00001, 0xFF800001, 0x00800000], np.uint32)
    params = {
        "odd": jnp.asarray(words.view(np.float32)),
        "half": jnp.arange(5, dtype=jnp.bfloat16),
        "flags": jnp.array([True, False]),
        "pixels": jnp.arange(256, dtype=jnp.uint8),
        "empty": jnp.zeros((0, 3)),
        "scalar": jnp.float32(-0.0),
        "keys": jax.random.split(jax.random.key(1), 3),
    }
    state = state_at(1)._replace(params=params)
    checkpoint.save(tmp_path, state, {})
    restored, _ = checkpoint.restore(tmp_path, jax.tree.map(jnp.zeros_like, state))
    assert bits(restored) == bits(state)
    words_back = np.asarray(restored.params["odd"]).view(np.uint32)
    assert (words_back == words).all()


def test_shapes_without_arrays_are_enough_to_restore(tmp_path):
    state = state_at(4)
    checkpoint.save(tmp_path, state, {})
    like = jax.eval_shape(lambda: state)
    assert bits(checkpoint.restore(tmp_path, like)[0]) == bits(state)


def test_the_newest_two_stay(tmp_path):
    for step in (9, 10, 100):
        checkpoint.save(tmp_path, state_at(step), {"step": step})
    assert names_in(tmp_path) == ["10.safetensors", "100.safetensors"]
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoints" / "100.safetensors"
    restored, notes = checkpoint.restore(tmp_path, state_at(0))
    assert bits(restored) == bits(state_at(100))
    assert notes == {"step": 100}


def test_a_second_save_at_a_step_takes_the_place_of_the_first(tmp_path):
    for count in range(12):
        checkpoint.save(tmp_path, state_at(5), {"count": count})
        assert checkpoint.restore(tmp_path, state_at(0))[1] == {"count": count}
    assert names_in(tmp_path) == ["5.safetensors"]
    checkpoint.save(tmp_path, state_at(6), {})
    assert names_in(tmp_path) == ["5.safetensors", "6.safetensors"]


def test_the_checkpoints_of_a_run_that_went_further_are_not_touched(tmp_path):
    checkpoint.save(tmp_path, state_at(50), {})
    with pytest.raises(CheckpointError, match=r"later step than 2.*another run"):
        checkpoint.save(tmp_path, state_at(2), {})
    assert names_in(tmp_path) == ["50.safetensors"]


def test_a_folder_without_checkpoints_is_said_to_have_none(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        assert checkpoint.latest(folder) is None
        with pytest.raises(CheckpointError, match=r"no checkpoint in .*checkpoints"):
            checkpoint.restore(folder, state_at(0))


def test_unfinished_and_foreign_files_are_not_checkpoints(tmp_path):
    checkpoint.save(tmp_path, state_at(1), {})
    parent = tmp_path / "checkpoints"
    for name in (".7.safetensors.123.tmp", "8.safetensors.tmp", "x.safetensors", "9"):
        shutil.copy(parent / "1.safetensors", parent / name)
    assert checkpoint.latest(tmp_path) == parent / "1.safetensors"
    checkpoint.save(tmp_path, state_at(2), {})
    kept = ["1.safetensors", "2.safetensors", "8.safetensors.tmp", "9", "x.safetensors"]
    assert names_in(tmp_path) == kept


def test_another_model_is_refused_with_the_differences(tmp_path):
    checkpoint.save(tmp_path, state_at(1), {})

    def refusal(like):
        with pytest.raises(CheckpointError, match="of another model") as caught:
            checkpoint.restore(tmp_path, like)
        return str(caught.value)

    assert ("params/conv/0/kernel_2 is float32 (16,10) there, float32 (16,12) here. ") in refusal(
        state_at(1, width_2=12)
    )
    several = refusal(state_at(1, optax.adam(0.1), width=8))
    assert "opt_state/0/count is missing there, int32 () here" in several
    assert several.count("here;") == 3
    assert re.search(r"; and \d+ more\. ", several)
    state = state_at(1)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), state.params)
    assert "embedding is float32 (40,16) there, bfloat16 (40,16) here" in refusal(
        state._replace(params=half)
    )
    more = [*state.params["conv"], {"bias": jnp.zeros(2)}]
    assert "params/conv/2/bias is missing there, float32 (2) here" in refusal(
        state._replace(params={"conv": more})
    )
    fewer = state.params["conv"][:1]
    assert "params/conv/1/bias is float32 (16) there, missing here" in refusal(
        state._replace(params={"conv": fewer})
    )
    assert "key<fry> () there, key<rbg> () here" in refusal(state_at(1, impl="rbg"))
    assert "totals/loss is float32 () there, missing here" in refusal(state._replace(totals={}))


def test_two_leaves_of_one_name_are_refused(tmp_path):
    params = {"a": {"b": jnp.zeros(1)}, "a/b": jnp.zeros(1)}
    with pytest.raises(ValueError, match="both named params/a/b"):
        checkpoint.save(tmp_path, state_at(1)._replace(params=params), {})


@pytest.mark.parametrize("name", ["a [b] c", "back\\slash", "star*?", "émile %41", " space "])
def test_no_character_of_a_path_matters(tmp_path, name):
    state = state_at(1)
    checkpoint.save(tmp_path / name, state, {})
    assert bits(checkpoint.restore(tmp_path / name, state_at(0))[0]) == bits(state)


def test_no_damaged_file_gives_wrong_data_or_another_exception(tmp_path):
    rng, old, new = random.Random(0), state_at(1, optax.adam(0.1)), state_at(2, optax.adam(0.1))
    earlier = checkpoint.save(tmp_path, old, {"epoch": 1})
    path = checkpoint.save(tmp_path, new, {"epoch": 2})
    raw = path.read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    contents = [raw[:size] for size in (0, 4, 8, header, len(raw) // 2, len(raw) - 1)]
    contents.append(raw + b"x")
    places = {*range(12), *range(0, header, 7), header - 1, header, len(raw) - 1}
    for place in places | set(rng.sample(range(len(raw)), 60)):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << rng.randrange(8)
        contents.append(bytes(flipped))
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is damaged") as caught:
            checkpoint.restore(tmp_path, new)
        assert f"delete {path} to go back to {earlier}" in str(caught.value)
    path.unlink()
    restored, notes = checkpoint.restore(tmp_path, old)
    assert (bits(restored), notes) == (bits(old), {"epoch": 1})


def test_the_notes_are_guarded(tmp_path):
    path = checkpoint.save(tmp_path, state_at(1), {"seconds": 12.5})
    path.write_bytes(path.read_bytes().replace(b"12.5", b"13.5"))
    with pytest.raises(CheckpointError, match=r"the digest is .*: there is no earlier one"):
        checkpoint.restore(tmp_path, state_at(0))


def test_a_save_counts_only_when_it_was_read_back(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state_at(1), {})
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"something else")
    with pytest.raises(CheckpointError, match=r"the disk failed to read or write; the last good"):
        checkpoint.save(tmp_path, state_at(2), {})
    assert names_in(tmp_path) == ["1.safetensors"]


WRITER = """
import sys
import jax, jax.numpy as jnp
from pathlib import Path
from zoo.common import checkpoint, fit
noise = jax.random.normal(jax.random.key(0), (300, 300))
for step in range(1, 10**6):
    key = jax.random.key(step)
    state = fit.State({"w": noise + step}, (), None, None, None, key, jnp.int32(step), {})
    checkpoint.save(Path(sys.argv[1]), state, {"step": step})
    print(step, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_good_checkpoint(tmp_path):
    rng, unfinished = random.Random(0), 0
    noise = jax.random.normal(jax.random.key(0), (300, 300))
    like = fit.State({"w": noise}, (), None, None, None, jax.random.key(0), jnp.int32(0), {})
    for number in range(30):
        if number >= 4 and unfinished:
            break
        folder = tmp_path / str(number)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        ) as writer:
            said = [int(writer.stdout.readline()) for _ in range(1 + number % 3)]
            time.sleep(rng.uniform(0, 0.08))
            aimed = number % 2 == 1  # every other kill aims at a write
            while aimed and writer.poll() is None:
                aimed = not any(name.endswith(".tmp") for name in names_in(folder))
            writer.kill()
            said += [int(line) for line in writer.stdout]
        unfinished += any(name.endswith(".tmp") for name in names_in(folder))
        (state, notes), last = checkpoint.restore(folder, like), said[-1]
        step = int(state.step)
        assert step in (last, last + 1)
        assert notes == {"step": step}
        assert bits(state.params) == bits({"w": noise + step})
        assert bits(state.key) == bits(jax.random.key(step))
        checkpoint.save(folder, state._replace(step=jnp.int32(step + 1)), {})
        assert all(name.endswith(".safetensors") for name in names_in(folder))
    assert unfinished > 0, "no kill fell inside a write: the test has tested nothing"


LIMITED = """
import resource, sys
import jax, jax.numpy as jnp, optax
from pathlib import Path
from zoo.common import checkpoint, fit
assert "safetensors" not in sys.modules
folder = Path(sys.argv[1])
noise = jax.random.normal(jax.random.key(0), (300, 300))
params = {"w": noise, "v": 2 * noise}
state = fit.start(params, optax.sgd(0.1), jax.random.key(1))._replace(step=jnp.int32(1))
checkpoint.save(folder, state, {})
for limit in (0, 100, 1000, 10_000, 200_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for write in (
        lambda: checkpoint.save(folder, state._replace(step=jnp.int32(2)), {}),
        lambda: checkpoint.save_weights(folder / "weights.safetensors", state.params, {}),
    ):
        try:
            print("written", write())
        except checkpoint.CheckpointError as error:
            print(error)
    assert [p.name for p in folder.iterdir()] == ["checkpoints"], list(folder.iterdir())
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["1.safetensors"]
    assert (checkpoint.restore(folder, state)[0].params["w"] == noise).all()
"""


def test_a_write_that_ends_early_is_reported_and_leaves_nothing(tmp_path):
    ended = run(LIMITED, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    there = tmp_path / "checkpoints"
    cause = "the file would grow over the size limit"
    assert ended.stdout.splitlines() == 5 * [
        f"cannot save checkpoint {there / '2.safetensors'}: {cause}; the last good one, "
        f"{there / '1.safetensors'}, is still there",
        f"cannot save weights {tmp_path / 'weights.safetensors'}: {cause}",
    ]


def test_a_full_disk_is_reported_and_the_earlier_checkpoint_restores(small_disk):
    disk, _ = small_disk
    folder, old = disk / "run", state_at(1, width=128)
    checkpoint.save(folder, old, {})
    for kilobytes in (0, 4, 16, 48, 80):
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(bytes(free - 1024 * kilobytes))
        with pytest.raises(CheckpointError, match="no space left on the disk") as caught:
            checkpoint.save(folder, state_at(2, width=128), {})
        last = folder / "checkpoints" / "1.safetensors"
        assert f"the last good one, {last}, is still" in str(caught.value)
        if kilobytes < 16:
            with pytest.raises(CheckpointError, match=r"cannot save weights .*no space left"):
                checkpoint.save_weights(disk / "weights", old.params, {})
        assert names_in(folder) == ["1.safetensors"]
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "run"]
        assert bits(checkpoint.restore(folder, old)[0]) == bits(old)
        (disk / "filler").unlink()
    checkpoint.save(folder, state_at(2, width=128), {})
    assert names_in(folder) == ["1.safetensors", "2.safetensors"]


def test_a_read_only_file_system_is_reported(small_disk):
    disk, make_read_only = small_disk
    checkpoint.save(disk / "run", state_at(1), {})
    make_read_only()
    for name, rest in {"run": "the last good one", "new": "there is none yet"}.items():
        with pytest.raises(CheckpointError, match=f"the file system is read-only; {rest}"):
            checkpoint.save(disk / name, state_at(2), {})
    with pytest.raises(CheckpointError, match="the file system is read-only"):
        checkpoint.save_weights(disk / "weights", {"w": jnp.zeros(2)}, {})
    assert bits(checkpoint.restore(disk / "run", state_at(0))[0]) == bits(state_at(1))


def test_a_folder_without_permission_to_write_is_reported(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind the root user")
    checkpoint.save(tmp_path, state_at(1), {})
    (tmp_path / "checkpoints").chmod(0o555)
    try:
        with pytest.raises(CheckpointError, match="permission denied; the last good one"):
            checkpoint.save(tmp_path, state_at(2), {})
        assert bits(checkpoint.restore(tmp_path, state_at(0))[0]) == bits(state_at(1))
    finally:
        (tmp_path / "checkpoints").chmod(0o755)


def test_a_file_where_the_folder_should_be_is_reported(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot save checkpoint .*Not a directory"):
        checkpoint.save(tmp_path / "run", state_at(1), {})


# ---- published weights

WEIGHTS = {
    "conv": [{"kernel": jnp.linspace(-1, 1, 24).reshape(2, 3, 4), "bias": jnp.float32(-0.0)}],
    "half": jnp.arange(3, dtype=jnp.bfloat16),
}


def test_weights_come_back_bit_for_bit_and_others_can_read_them(tmp_path):
    import safetensors

    path = tmp_path / "new" / "weights.safetensors"
    checkpoint.save_weights(path, WEIGHTS, {"recipe": "book"})
    restored = checkpoint.load_weights(path, jax.tree.map(jnp.zeros_like, WEIGHTS))
    assert bits(restored) == bits(WEIGHTS)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert sorted(file.keys()) == ["conv/0/bias", "conv/0/kernel", "half"]
        assert json.loads(file.metadata()["record"])["metadata"] == {"recipe": "book"}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_weights_take_the_place_of_others_whole_or_not_at_all(tmp_path, monkeypatch):
    path, seen, replace = tmp_path / "weights.safetensors", [], Path.replace
    checkpoint.save_weights(path, {"w": jnp.ones(2)}, {})
    before = path.read_bytes()

    def full(temporary, target):
        seen.append((temporary.parent, target.read_bytes()))
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CheckpointError, match=r"cannot save weights .*no space left"):
        checkpoint.save_weights(path, {"w": jnp.zeros(2)}, {})
    assert seen == [(tmp_path, before)]  # up to the rename the old content stands
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(path.name, before)]
    monkeypatch.setattr(Path, "replace", replace)
    checkpoint.save_weights(path, {"w": jnp.zeros(2)}, {})
    assert not checkpoint.load_weights(path, {"w": jnp.ones(2)})["w"].any()


def test_the_digest_sees_names_dtypes_shapes_bytes_and_the_record():
    zeros = np.zeros((2, 3), np.float32)
    changed = zeros.copy()
    changed[1, 2] = 1e-45  # the last bit
    variants = [
        ({"a": zeros}, {"notes": 1}),
        ({"b": zeros}, {"notes": 1}),
        ({"a": zeros.view(np.int32)}, {"notes": 1}),
        ({"a": zeros.reshape(3, 2)}, {"notes": 1}),
        ({"a": changed}, {"notes": 1}),
        ({"a": zeros}, {"notes": 2}),
        ({"a": zeros[:1], "b": zeros[1:]}, {"notes": 1}),
        ({"b": zeros[:1], "a": changed[1:]}, {"notes": 1}),
    ]
    found = [checkpoint._digest(*variant) for variant in variants]
    assert len(set(found)) == len(variants)
    assert checkpoint._digest({"a": zeros.copy()}, {"notes": 1}) == found[0]


def test_the_unfinished_file_of_another_writer_of_weights_is_left_alone(tmp_path):
    theirs = tmp_path / ".other.safetensors.123.tmp"
    theirs.write_bytes(b"half")
    checkpoint.save_weights(tmp_path / "weights.safetensors", {"w": jnp.ones(2)}, {})
    assert theirs.read_bytes() == b"half"


def test_weights_of_another_model_are_refused_with_the_differences(tmp_path):
    path = tmp_path / "weights.safetensors"
    checkpoint.save_weights(path, WEIGHTS, {})
    other = {"conv": [{"kernel": jnp.zeros((2, 3, 5)), "scale": jnp.zeros(1)}]}
    with pytest.raises(CheckpointError, match="of another model") as caught:
        checkpoint.load_weights(path, other)
    assert "conv/0/kernel is float32 (2,3,4) there, float32 (2,3,5) here" in str(caught.value)
    assert "conv/0/scale is missing there, float32 (1) here; and 1 more" in str(caught.value)


def test_a_file_of_weights_is_guarded_to_the_last_byte(tmp_path):
    path, rng = tmp_path / "weights.safetensors", random.Random(0)
    checkpoint.save_weights(path, WEIGHTS, {"recipe": "book"})
    raw = path.read_bytes()
    contents = [raw[:size] for size in (0, 4, 8, 100, len(raw) // 2, len(raw) - 1)]
    for place in range(len(raw)):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << rng.randrange(8)
        contents.append(bytes(flipped))
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="weights"):
            checkpoint.load_weights(path, WEIGHTS)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"no file of weights .*weights.safetensors"):
        checkpoint.load_weights(path, WEIGHTS)
