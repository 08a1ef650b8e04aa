"""What chapter 10 does at scale, on the command line: launch, batch, cost."""

from typing import Annotated

import tyro

from zoo.ch10_deploy import launch as launching


def launch(
    command: tyro.conf.Positional[tuple[str, ...]],
    processes: int | None = None,
    heartbeat: float = 30.0,
) -> None:
    """Train with several processes, here or on a cluster, as if they were one.

    Here: `launch --processes 2 -- zoo.ch06_cnn train --out runs/pair`. Within a Kubernetes JobSet,
    without --processes: the peers are found by themselves. Run again with the same --out, it goes
    on from the last checkpoint.

    Args:
        command: after `--`, a training command of this zoo: `zoo.ch06_cnn train --epochs 5`
        processes: how many to start on this machine; none inside a cluster's job
        heartbeat: seconds of silence after which a process counts as lost
    """
    launching.run(command, processes, heartbeat)


def batch(
    model: tyro.conf.Positional[str],
    images: tyro.conf.Positional[str],
    out: tyro.conf.Positional[str],
    shard: Annotated[int | None, tyro.conf.arg(metavar="I")] = None,
    shards: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    merge: bool = False,
) -> None:
    """Classify files of images, one shard of them or all, or merge what the shards wrote.

    Args:
        model: an exported model: a folder or a URL such as s3://bucket/model
        images: files or URLs with commas between: CIFAR-10's .bin, .npz with `image`, or .npy
        out: the folder or URL for the predictions
        shard: which part, from 0; JOB_COMPLETION_INDEX of an indexed Job if not given
        shards: into how many parts
        merge: put the shards together instead, in order, as predictions.npz
    """
    from zoo.ch10_deploy import batch as batching

    batching.run(model, images, out, shard, shards, merge=merge)


def cost(
    machines: tyro.conf.Positional[tuple[str, ...]],
    busy: float = 1.0,
    currency: str = "USD",
    demand: float | None = None,
) -> None:
    """Say what a million predictions cost, from prices that you give and rates measured.

    Args:
        machines: NAME=PRICE@RATE each: price per hour, and predictions per second as a number or
            as the JSON file that load-test wrote: small=0.10@500 big=1.20@load.json
        busy: the share of the time that a machine is in use, over 0 up to 1
        currency: of the prices, for the table's head
        demand: predictions per second that are wanted: adds how many machines that takes
    """
    from zoo.ch10_deploy import cost as costs

    costs.run(machines, busy=busy, currency=currency, demand=demand)
