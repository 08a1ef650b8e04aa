"""The commands that are the same for every model, made from its `Task`."""

import shlex
from pathlib import Path
from typing import Any

import jax

from zoo.common import bench, cli, device, fit, run, trained
from zoo.common.settings import Duration
from zoo.common.task import Task
from zoo.common.trained import Trained


def make(task: Task) -> dict[str, cli.Command]:
    """`train`, `evaluate`, `figures`, `bench`, `export` and `publish` of a model.

    A chapter adds its own commands and replaces those of these that do more for its model.
    """

    def train_command(config: Any, options: cli.RunOptions) -> None:
        train(task, config, options)

    def evaluate_command(model: cli.TrainedModel) -> None:
        """Measure a trained model on its test data; write evaluation.json."""
        evaluate(trained.choose(task, model), getattr(model, "data_dir", None))

    def figures_command(model: cli.TrainedModel) -> None:
        """Draw the pictures of a trained model again."""
        found = trained.choose(task, model)
        for path in draw(found, dataset_of(found, getattr(model, "data_dir", None))):
            print(path)

    def bench_command(config: Any, device: device.Name = "auto", seconds: Duration = 10.0) -> None:
        """Time training and inference of a recipe on random data; compilation apart.

        Args:
            config: what to time
            device: where to compute
            seconds: how long to train
        """
        time_model(task, config, device, seconds)

    def export_command(model: cli.TrainedModel, out: str | None = None) -> None:
        """Write a trained model as files that can be served and that outlive the code.

        Args:
            model: which model
            out: folder or URL (s3://bucket/model) to write to; RUN/export if not given
        """
        export(trained.choose(task, model), out)

    def publish_command(run: Path, into: Path | None = None) -> None:
        """Make the model of a run the one that comes with zoo.

        Args:
            run: folder of the run
            into: folder to write to, if not the chapter's
        """
        print(trained.publish(run, task, into))

    train_command.__doc__ = f"Train {task.about}; Ctrl-C saves, --resume DIR goes on."
    made: dict[str, cli.Command] = {"train": train_command, "evaluate": evaluate_command}
    if task.pictures:
        made["figures"] = figures_command
    made |= {"bench": bench_command, "export": export_command, "publish": publish_command}
    # `cli.main` makes the flags of the annotations.
    types: dict[str, type] = {"config": task.config_type}
    types["options"] = cli.RunOptions if task.synthetic else cli.Options
    types["model"] = cli.TrainedModel if task.synthetic else cli.Trained
    for command in made.values():
        own = command.__annotations__
        own |= {name: types[name] for name in own.keys() & types.keys()}
    return made


def train(task: Task, config: Any, options: cli.RunOptions) -> Trained:
    """Trains in a run folder, reports, draws, and prints what can be done next."""
    mesh = run.devices(task, config, options)
    source, folder = getattr(options, "data", "auto"), getattr(options, "data_dir", None)
    if options.resume is not None and source == "auto":
        _, about = run.read_config(options.resume, task.name, task.config_type)
        dataset = run.load_again(task, config, about, folder)
    else:
        dataset = task.load(config, source, folder)
    config = task.fill(config, dataset)  # before config.json is written
    print(dataset.description)
    try:
        folder, state = run.train(task, config, options, dataset, mesh)
    finally:  # a run that was stopped is one
        if (given := options.resume or options.out) is not None:
            run.remember(given)
    about = run.read_config(folder, task.name, task.config_type)[1]
    model = Trained(task, config, task.weights(state), about, folder, state)
    if task.report is not None:
        task.report(model, dataset)
    drawn = draw(model, dataset)
    pictures = f"; {len(drawn)} pictures in {folder / 'figures'}" if drawn else ""
    print(f"trained in {folder}{pictures}")
    quoted = shlex.quote(str(folder))
    following = ["evaluate", *task.following(dataset)]
    if drawn:
        following.append("figures")
    for line in following:
        print(f"next: {task.command} {line} --run {quoted}")
    if task.package.startswith("zoo."):
        print(f"next: python -m zoo.ch10_deploy serve {quoted} --open")
    else:  # the server finds zoo's own models alone by a run's folder
        print(f"next: {task.command} export --run {quoted}")
    return model


def dataset_of(model: Trained, data_dir: Path | None = None) -> Any:
    """The data set that a model was trained on, with its description on the screen."""
    dataset = model.dataset(data_dir)
    print(dataset.description)
    return dataset


def measure(model: Trained, dataset: Any) -> dict[str, float]:
    """Means of the test's loss and metrics over the test data."""
    task, config = model.task, model.config
    steps = task.steps(config, dataset.train)
    test = fit.make_evaluate(task.losses(config, steps)[1], config.batch_size)
    return test(model.weights, task.prepare(config, dataset.test))


def evaluate(model: Trained, data_dir: Path | None = None) -> dict[str, float]:
    """Prints and writes the means over the test data."""
    dataset = dataset_of(model, data_dir)
    found = {f"test_{name}": value for name, value in measure(model, dataset).items()}
    examples = len(jax.tree.leaves(dataset.test)[0])
    print(f"{run.describe(found)} ({examples:,} examples)")
    keep(model, found | {"description": dataset.description})
    return found


def keep(model: Trained, results: dict[str, Any], name: str = "evaluation") -> Path:
    """Writes results beside a model."""
    path = model.folder / f"{name}.json"
    run.write_json(path, results)
    print(f"written to {path}")
    return path


def draw(model: Trained, dataset: Any) -> list[Path]:
    """All pictures of a model, in its folder."""
    if model.task.pictures is None:
        return []
    from zoo.common import figures  # matplotlib takes half a second

    folder, drawn = model.folder / "figures", model.task.pictures(model, dataset)
    return [figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def save(model: Trained, name: str, figure: Any) -> None:
    """Writes one picture beside a model and prints where it is."""
    from zoo.common import figures

    print(f"drawn to {figures.save(figure, model.folder / 'figures' / f'{name}.png')}")


def export(model: Trained, out: str | None = None) -> None:
    """Writes a trained model as files, as chapter 10 does."""
    from zoo.ch10_deploy import export as exporting  # the one chapter that all others lead to

    written = exporting.export_run(model, out)
    state = "unchanged, it was exported before" if written.was_there else "written"
    print(f"{written.location}: {state}")
    print(f"digest {written.digest}")
    print(f"next: python -m zoo.ch10_deploy serve {shlex.quote(written.location)} --open")


def time_model(task: Task, config: Any, kind: device.Name = "auto", seconds: float = 10.0) -> None:
    """Prints a table of rates: training, inference, and what else the task times."""
    device.use(kind)
    size, items = getattr(config, "batch_size", 1), task.items(config)
    device.check_memory(task.like(config))
    data = task.random(config, max(2_000, size))
    runs = 10
    rates, state = bench.training(task, config, data, size, runs=runs, seconds=seconds / runs)
    weights = task.weights(state)
    batch = {name: array[:size] for name, array in data.items()}
    rows = {"training": rates.scaled(items)}
    rows["inference"] = bench.inference(task, config, weights, batch).scaled(items)
    if task.timings is not None:
        for name, (function, arguments, units) in task.timings(config, weights).items():
            timing = bench.time_call(function, *arguments, runs=20, warmup=2)
            rows[name] = bench.Rates.of(timing, units)
    bench.print_table(
        f"recipe {config.recipe}, batches of {size}, {device.describe(device.current())}, "
        f"JAX {jax.__version__}",
        ("", f"{task.unit}/s, median", "quartiles", "compilation, s"),
        [(name, *row.cells()) for name, row in rows.items()],
    )
