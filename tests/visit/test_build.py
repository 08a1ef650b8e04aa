import json
import re
import subprocess
import sys

import numpy as np
import pytest

from zoo.common.data import DataError
from zoo.visit import build, serve


def test_the_files_are_small_enough_and_always_the_same(built):
    folder, contents = built
    assert sum(map(len, contents.values())) < build.LIMIT
    assert build.build() == contents
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert written == set(contents)
    assert all((folder / name).read_bytes() == content for name, content in contents.items())


def test_everything_that_is_cited_is_there(built):
    contents = built[1]
    cited = json.loads(contents["cited.json"])
    assert set(cited) == set(build.CITED)
    for place in cited.values():
        path, line = place["link"].split("#")
        (shown,) = re.findall(rf'<li id="{line}"><code>(.*)</code>', contents[path].decode())
        assert f"def {place['name'].rpartition('.')[2]}(" in shown


def test_no_file_names_another_host(built):
    for name, content in built[1].items():
        if name.endswith((".js", ".html", ".css")) and not name.startswith("code/"):
            found = re.findall(rb"https?://[^\s\"']+", content)
            assert not [one for one in found if not one.startswith(b"http://www.w3.org/")], name


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        serve.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_digits_are_one_of_each_kind():
    from zoo.common import trained

    digits = build.digits()
    probabilities = trained.published("ch03_mnist_ae_rbm").predict(image=digits)["probabilities"]
    assert probabilities.argmax(1).tolist() == list(range(10))
    assert digits.dtype == np.uint8


def test_the_command_serves_on_this_machine_alone(environment, place):
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo", "visit", "--no-browser"],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        import urllib.request

        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        with urllib.request.urlopen(f"{found[0]}main.js") as response:
            assert response.headers["Content-Type"] == "text/javascript"
    finally:
        process.terminate()
        process.wait(30)
