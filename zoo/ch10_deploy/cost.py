"""What predictions cost: prices per hour that the user gives against rates that were measured.

    cost per million = price per hour / (rate * busy * 3600) * 1,000,000

There are no prices in here: they differ by place, contract and week.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.common import bench
from zoo.common.data import DataError

RATE_KEYS = ("predictions_per_second", "rate", "images_per_second")


class Machine(NamedTuple):
    """A kind of machine as it can be rented."""

    name: str
    price: float  # per hour, in the user's currency
    rate: float  # predictions per second, measured


class CostError(DataError):
    """A machine is not written as NAME=PRICE@RATE, or a number makes no sense."""


def run(
    machines: Sequence[str], busy: float = 1.0, currency: str = "USD", demand: float | None = None
) -> None:
    """Prints the table, the cheapest machine first.

    Args:
      machines: NAME=PRICE@RATE; see `parse`.
      busy: the share of the time that a machine works; it is paid for all of it.
      currency: written into the head.
      demand: predictions per second wanted; adds how many machines and what they cost an hour.

    Raises:
      CostError: a machine or a number is not what it should be.
    """
    if not machines:
        raise CostError("name at least one machine: cost small=0.10@500, as NAME=PRICE@RATE")
    if not 0 < busy <= 1:
        raise CostError(f"got --busy {busy}, expected a share over 0 and up to 1")
    if demand is not None and not 0 < demand < math.inf:
        raise CostError(f"got --demand {demand}, expected predictions per second over 0")
    rented = sorted(map(parse, machines), key=lambda machine: per_million(machine, busy))
    head = ["machine", f"{currency}/hour", "per second", f"{currency}/million"]
    if demand is not None:
        head += [f"for {demand:,g}/s", f"{currency}/hour in all"]
    rows = []
    for one in rented:
        row = [one.name, f"{one.price:,.4g}", f"{one.rate:,.4g}", f"{per_million(one, busy):,.4g}"]
        if demand is not None:
            count = needed(one, demand, busy)
            row += [f"{count:,}", f"{count * one.price:,.4g}"]
        rows.append(tuple(row))
    title = f"what predictions cost, machines in use {busy:.0%} of the time"
    bench.print_table(title, tuple(head), rows)


def parse(text: str) -> Machine:
    """A machine written as NAME=PRICE@RATE, RATE a number or a JSON file with a measured rate.

    Raises:
      CostError: it is not written so, or a number is not over 0.
    """
    name, equals, rest = text.partition("=")
    price, at, rate = rest.partition("@")
    if not (name and equals and at):
        raise CostError(
            f"got {text!r}, expected NAME=PRICE@RATE: price per hour, then predictions per second "
            "or the JSON file of a load test, as in small=0.10@500 or big=1.20@load.json"
        )
    measured = _rate(rate) if Path(rate).suffix == ".json" else _number(text, "rate", rate)
    return Machine(name, _number(text, "price", price), measured)


def per_million(machine: Machine, busy: float = 1.0) -> float:
    """The cost of a million predictions on a machine that works `busy` of the time."""
    return machine.price / (machine.rate * busy * 3600) * 1e6


def needed(machine: Machine, demand: float, busy: float = 1.0) -> int:
    """How many of a machine make `demand` predictions per second."""
    return math.ceil(demand / (machine.rate * busy))


def _number(text: str, what: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise CostError(f"the {what} in {text!r} is {number!r}, expected a number over 0")
    return value


def _rate(path: str) -> float:
    """The first rate in a JSON file: at its top, or in its results."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CostError(f"{path} can't be read as JSON: {error}") from error
    for key in RATE_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), int | float):
            return _number(path, key, str(content[key]))
    raise CostError(f"{path} has none of {', '.join(RATE_KEYS)}: write it by load-test")
