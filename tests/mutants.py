"""Do the tests notice wrong code? One operator or number at a time is changed, by cosmic-ray.

`make mutants FILES=zoo/common/ops.py` changes a copy of the project and runs, for each mutant, the
tests that mirror the file: `tests/common/test_ops.py`. A mutant that they let pass is printed as a
diff. ARGS='--share 0.1' takes a tenth of them by chance, `--tests` names other tests.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).parents[1]
SKIPPED = re.compile(
    r"core/(ReplaceBinaryOperator_(BitOr_|\w+_(Bit|RShift|LShift))|RemoveDecorator)"
)
"""Types' `A | B`, and bits of what are mostly floats: what fails by itself proves no test."""


def mirrored(name: str) -> str:
    """The tests of a file: its own, or those of its folder."""
    path = Path("tests", *Path(name).parts[1:])
    own = path.with_name(f"test_{path.name}")
    return str(own if (ROOT / own).is_file() else path.parent)


def copy(folder: Path) -> None:
    """The project's files, tracked or new, without what git ignores."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    archive = subprocess.run(
        ["tar", "c", "--null", "-T", "-"], cwd=ROOT, check=True, capture_output=True,
        input=b"\0".join(name for name in names if name and (ROOT / name.decode()).exists()),
    )  # fmt: skip
    subprocess.run(["tar", "x"], cwd=folder, check=True, input=archive.stdout)


def select(items: list, share: float) -> set[str]:
    """The jobs to be done, by their ids."""
    fit = [one.job_id for one in items if not SKIPPED.match(one.mutations[0].operator_name)]
    return set(random.Random(0).sample(fit, max(1, round(share * len(fit)))))


def mutate(name: str, tests: str, share: float, folder: Path) -> tuple[int, list[str]]:
    """How many mutants of a file there were, and the diffs of those that survived."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # they pass as it is
    config, session = folder / "mutants.toml", folder / "mutants.sqlite"
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps([name])}\ntimeout = 300.0\n"
        f"excluded-modules = []\ntest-command = {json.dumps(' '.join(command))}\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
    )
    session.unlink(missing_ok=True)
    cosmic = [sys.executable, "-m", "cosmic_ray.cli"]
    files = [str(config), str(session)]
    subprocess.run([*cosmic, "init", *files], cwd=folder, check=True)
    with use_db(session, WorkDB.Mode.open) as db:
        chosen = select(list(db.work_items), share)
        skipped = [one.job_id for one in db.work_items if one.job_id not in chosen]
        db.set_multiple_results(skipped, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    subprocess.run([*cosmic, "exec", *files], cwd=folder, check=True)
    with use_db(session, WorkDB.Mode.open) as db:
        done = [result for job, result in db.results if job in chosen]
    return len(done), [one.diff for one in done if one.test_outcome == TestOutcome.SURVIVED]


def main() -> None:
    """Prints the survivors of each file and a table of all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", help="such as zoo/common/ops.py")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants, by chance")
    parser.add_argument("--tests", help="other tests than those that mirror the files")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        copy(Path(folder))
        for name in given.files:
            tests = given.tests or mirrored(name)
            count, survived = mutate(name, tests, given.share, Path(folder))
            print(*survived, sep="\n", flush=True)
            rows.append(f"{name}: {count - len(survived)} of {count} killed by {tests}")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
