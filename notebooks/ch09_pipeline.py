# %% [markdown]
# # Chapter 9: a pipeline with provenance
#
# Which data, which settings and which program made this prediction? A workspace answers: a git
# and DVC repository in which every version of the data has a commit, only what has changed is
# computed again, and each file of predictions has a record of what made it. This notebook makes
# one in a temporary folder, runs it, tampers with it, and changes the model.
#
# The engines are git and DVC (`pip install -e '.[pipeline]'`); in a terminal the same is
# `python -m zoo.ch09_pipeline init DIR`, `put`, `run`, `why`. The settings are tiny, so that
# everything takes about a minute on two cores.

# %%
import tempfile
from pathlib import Path

import zoo
from zoo.ch09_pipeline import params, record, report, trace, workspace
from zoo.ch09_pipeline.params import Params
from zoo.common.data import sample

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## A workspace with data
#
# `init` makes the repository, `put` adds files to the data and commits a version. Here these are
# the built-in sample's: six files of 500 drawn shapes in CIFAR-10's format, the last
# one to test on.

# %%
place = tempfile.TemporaryDirectory()
folder = Path(place.name, "shapes")
small = {"filters": [8, 8, 8], "hidden": 32, "epochs": 2}
workspace.init(folder, Params({"recipe": "modern", **small}, classes=sample.SHAPES))
with workspace.cifar_files("sample") as (files, _):
    workspace.put(folder, files)
workspace.data_versions(folder)

# %% [markdown]
# ## The first run
#
# `dvc.yaml` has four stages, each a command of zoo. `run` is `dvc repro` between two commits: of
# what goes in, and of what came out.

# %%
print((folder / "dvc.yaml").read_text())

# %%
workspace.run(folder)

# %% [markdown]
# ## Why?
#
# The record beside the predictions names everything with its hash. `trace.check` follows it and
# checks each link against what is found now.

# %%
predictions = folder / "predictions" / "predictions.csv"
print("".join(predictions.open().readlines()[:3]))
for link in trace.check(folder, predictions):
    print("BROKEN" if link.fault else "ok", link.name, link.says, sep=" | ")

# %% [markdown]
# A model that was tampered with, by one bit, is found; put back, all links are sound again.

# %%
weights = folder / "model" / "weights.safetensors"
content = weights.read_bytes()
weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
print([link.fault for link in trace.check(folder, predictions) if link.fault])
weights.write_bytes(content)
print([link.fault for link in trace.check(folder, predictions) if link.fault])

# %% [markdown]
# ## Another model
#
# A change of `params.yaml` is a commit too. `prepare` need not run again: DVC skips it.

# %%
before = params.read(folder)
workspace.change(folder, "Model: nodropout", model=before.model | {"recipe": "nodropout"})
workspace.run(folder)

# %% [markdown]
# ## The history

# %%
versions = workspace.models(folder)
for version in versions:
    print(version.run[:8], version.recipe, version.metrics, "data", version.data[:8])
report.accuracies(versions)

# %%
made = record.read(predictions)
{name: made[name] for name in ("model", "data", "params", "program")}

# %%
place.cleanup()
