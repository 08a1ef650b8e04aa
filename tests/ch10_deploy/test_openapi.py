"""The server does what its own schema says, and the other way round."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytest.importorskip("uvicorn", reason="the server needs uvicorn")
CONFIG = Path(__file__).with_name("schemathesis.toml")


def check(folder, url, *flags):
    """What schemathesis finds by requests that follow the schema and such as do not."""
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    given = ["--config-file", CONFIG, "run", f"{url}/openapi.json", "--checks", "all"]
    limits = ["--max-examples", "40", "--phases", "examples,coverage,fuzzing", "--seed", "0"]
    return subprocess.run(
        [*map(str, [*command, *given, *limits, *flags])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.mark.slow
def test_every_check_of_schemathesis_passes_with_a_key(server, keyfile, tmp_path):
    done = check(tmp_path, server.url, "--header", f"X-API-Key: {keyfile[1]}")
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(r"Tested: 12", done.stdout), done.stdout[-3000:]


@pytest.mark.slow
def test_every_check_passes_on_an_open_server(exported, start, tmp_path):
    server = start(exported, "--open", "--max-batch", 2).wait_ready()
    schema = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()
    assert "securitySchemes" not in schema.get("components", {})
    done = check(tmp_path, server.url)
    assert done.returncode == 0, done.stdout[-6000:]


def test_answers_that_are_documented_have_a_schema(client):
    paths = client.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if path != "/metrics":
                    assert all("schema" in one for one in response["content"].values()), (
                        path,
                        status,
                    )
    assert "503" in paths["/readyz"]["get"]["responses"]
