"""Keeps the JSON of chapter 4's measurements and writes its README.md's tables and figures.

Between the lines `<!-- NAME -->` and `<!-- end -->` of README.md stands what the files NAME_*.json
say, one section for each machine; the rest of it is left alone.
"""

import json
import re
from pathlib import Path
from typing import Any

from zoo.ch04_gpu import tables
from zoo.ch04_gpu.figures import FIGURES
from zoo.common import cli, figures, run

EMPTY = "MEASURE: `python -m zoo.ch04_gpu {name}`, then `python -m studies.ch04_report`."
SECTION = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def load(folder: Path) -> list[dict[str, Any]]:
    """The records of a folder, by name.

    Raises:
      RunError: the folder has none, or one that is no record of this chapter.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            known = record["name"] in tables.TABLES and record["rows"]
            if known:
                tables.TABLES[record["name"]](record)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise run.RunError(
                f"{path} can't be read as a measurement of this version: {error!r}"
            ) from error
        if not known:
            raise run.RunError(f"{path} is no measurement of this chapter, or an empty one")
        records.append(record)
    if not records:
        raise run.RunError(
            f"no measurement in {folder}: run `python -m zoo.ch04_gpu all --out {folder}` first"
        )
    return records


def section(record: dict[str, Any], picture: str | None) -> str:
    """A record as Markdown: the machine, its tables, and its picture."""
    parts = [
        f"{tables.machine(record)}.",
        *(t.markdown() for t in tables.TABLES[record["name"]](record)),
    ]
    if picture:
        parts.append(f"![{record['name']}: {', '.join(record['devices'])}]({picture})\n")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def fill(text: str, sections: dict[str, list[str]]) -> str:
    """README.md's text with the sections in their places, a command in place of what is missing."""

    def replace(match: re.Match[str]) -> str:
        found = sections.get(match[2]) or [EMPTY.format(name=match[2]) + "\n"]
        return match[1] + "\n" + "\n".join(found) + "\n" + match[3]

    return SECTION.sub(replace, text)


def write(results: Path, readme: Path, docs: Path) -> list[Path]:
    """Draws the pictures of all records into `docs` and writes the tables into `readme`."""
    if not readme.exists():
        raise run.RunError(f"{readme} is not there: run this in the repository's own folder")
    sections: dict[str, list[str]] = {}
    written = []
    for record in load(results):
        name, picture = record["name"], None
        if name in FIGURES:
            path = figures.save(FIGURES[name](record), docs / f"{tables.file_name(record)}.png")
            written.append(path)
            picture = f"../../{path.as_posix()}"
        sections.setdefault(name, []).append(section(record, picture))
    run.write(readme, fill(readme.read_text(encoding="utf-8"), sections))
    return [readme, *written]


def report(
    results: Path = Path("benchmarks/results/ch04_gpu"),
    readme: Path = Path("zoo/ch04_gpu/README.md"),
    docs: Path = Path("docs/ch04_gpu"),
    keep_from: Path | None = None,
) -> None:
    """Writes README.md's tables and figures from the JSON files that are kept.

    Args:
        results: the folder where they are kept
        readme: what to write the tables into
        docs: folder for the figures
        keep_from: a folder of new ones, which are copied into `results` first
    """
    if keep_from is not None:
        for record in load(keep_from):
            run.write_json(results / f"{tables.file_name(record)}.json", record)
    for path in write(results, readme, docs):
        print(path)


if __name__ == "__main__":
    cli.main(__doc__, report)
