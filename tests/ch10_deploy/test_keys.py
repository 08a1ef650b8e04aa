"""API keys: what is kept, who is let in, how often."""

import json
import stat
import threading

import pytest

from zoo.ch10_deploy import keys


@pytest.fixture
def path(tmp_path):
    return tmp_path / "secret" / "keys.json"


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = [1000.0]
    monkeypatch.setattr(keys.time, "monotonic", lambda: now[0])
    return now


def test_a_key_is_kept_as_a_salted_hash_in_a_file_of_its_owner(path):
    first, second = keys.add(path, "anna", 5), keys.add(path, "ben", 0)
    assert first != second
    text = path.read_text()
    assert first not in text
    assert first.rsplit("_", 1)[1] not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    salts = {entry["salt"] for entry in keys.read(path)}
    assert len(salts) == 2


def test_only_the_right_key_opens(path):
    key, other = keys.add(path, "anna", 5), keys.add(path, "ben", 5)
    ring = keys.KeyRing(path)
    assert ring.find(key).name == "anna"
    swapped = "_".join(key.split("_")[:2]) + "_" + other.split("_", 2)[2]
    unknown = f"zoo_{'0' * 16}_{key.split('_', 2)[2]}"
    for wrong in (swapped, unknown, key[:-1], key + "A", key.upper(), "", "é", "zoo__", key + "\n"):
        assert ring.find(wrong) is None, wrong


def test_secrets_are_compared_in_constant_time(path, monkeypatch):
    key = keys.add(path, "anna", 5)
    compared = []
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    ring = keys.KeyRing(path)
    assert ring.find(key)
    assert ring.find(f"zoo_{'0' * 16}_{'A' * 43}") is None
    assert len(compared) == 2  # for an unknown id too


def test_a_key_that_is_revoked_or_made_counts_within_a_second(path, clock):
    key = keys.add(path, "anna", 5)
    ring = keys.KeyRing(path)
    late = keys.add(path, "ben", 5)
    keys.revoke(path, "anna")
    clock[0] += 1.0
    assert ring.find(key) is None
    assert ring.find(late).name == "ben"
    path.write_text("{")
    clock[0] += 1.0
    assert ring.find(late) is None


def test_reading_keys_again_forgives_no_debt(path, clock):
    key = keys.add(path, "anna", 1)
    ring = keys.KeyRing(path)
    assert ring.find(key).bucket.wait() == 0
    keys.add(path, "ben", 1)
    clock[0] += 0.6
    assert ring.find(key).bucket.wait() == pytest.approx(0.4)


def test_a_bucket_lets_its_rate_pass_and_a_second_at_once(clock):
    bucket = keys.Bucket(10)
    assert [bucket.wait() for _ in range(10)] == [0.0] * 10
    assert bucket.wait() == pytest.approx(0.1)
    clock[0] += 0.25
    assert [bucket.wait() > 0 for _ in range(3)] == [False, False, True]
    clock[0] += 100
    assert sum(bucket.wait() == 0 for _ in range(20)) == 10
    assert all(keys.Bucket(0).wait() == 0 for _ in range(100))
    assert keys.Bucket(0.1).wait() == 0  # a slow key still gets its first


def test_names_are_checked_and_taken_once(path):
    keys.add(path, "anna", 5)
    with pytest.raises(keys.KeyFileError, match="has a key 'anna' already"):
        keys.add(path, "anna", 5)
    for name in ("", "a b", "x" * 65, "ä", "a/b"):
        with pytest.raises(keys.KeyFileError, match="use 1 to 64"):
            keys.add(path, name, 5)
    for rate in (-1, float("nan"), float("inf")):
        with pytest.raises(keys.KeyFileError, match="requests per second"):
            keys.add(path, "ben", rate)
    with pytest.raises(keys.KeyFileError, match="there are: anna"):
        keys.revoke(path, "ben")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"keys": [1]}', '{"keys": [{"name": "a"}]}', '{"a":1}']
)
def test_a_damaged_file_is_refused(path, text):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(keys.KeyFileError, match="can't be read as a file of keys"):
        keys.KeyRing(path)
    with pytest.raises(keys.KeyFileError, match="can't be read"):
        keys.add(path, "anna", 5)
    assert path.read_text() == text


def test_a_missing_file_says_how_to_make_one(path):
    with pytest.raises(keys.KeyFileError, match="keys add NAME --file"):
        keys.KeyRing(path)


def test_two_commands_at_once_lose_no_key(path):
    threads = [threading.Thread(target=keys.add, args=(path, f"k{n}", 1)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {e["name"] for e in json.loads(path.read_text())["keys"]} == {f"k{n}" for n in range(12)}
