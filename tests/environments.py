"""Runs every command of every chapter, in this process and in the folder that it is given.

`test_environments.py` starts it under each of the environments that people really have. A line of
JSON a command goes to the file `results.jsonl`: the command, its exit status and, where it failed,
the end of its traceback.
"""

import contextlib
import io
import json
import os
import runpy
import shlex
import sys
import time
import traceback
from pathlib import Path

TINY = "--data sample --epochs 1"
MLP = f"{TINY} --hidden 4 --batch-size 500"
AUTOENCODER = f"{TINY} --hidden 4 --code 2 --batch-size 500"
RBM = f"{TINY} --hidden 4 --batch-size 500"
LSTM = "--text text.txt --epochs 1 --hidden 4 --embedding 4 --chunk 4 --batch-size 64"
CNN = f"{TINY} --filters 2 2 2 --hidden 4 --batch-size 1250"
SPEEDRUN = f"{TINY} --recipe speedrun-cpu --width 2 --batch-size 1250 --views plain"
DQN = (
    "--epochs 1 --epoch-steps 3 --target-every 3 --rows 2 --columns 2 --hidden 4 --limit 4 "
    "--capacity 8 --batch-size 2"
)
PLANNER = (
    "--epochs 1 --epoch-steps 2 --rows 4 --columns 4 --rounds 2 --walkers 2 --walk-steps 2 "
    "--capacity 4 --batch-size 2"
)
VAE = f"{TINY} --hidden 4 --latents 2 --batch-size 1250"
CONV = f"{TINY} --filters 2 2 2 --latents 2 --batch-size 1250"

# `RUN` is the folder of the model's run; what is slow is left out where nothing is compiled.
MODELS = {
    "ch02_basic_nn": ("--steps 3", ["slow: compare", "slow: bench --runs 1"]),
    "ch03_mnist_ae_rbm": (MLP, ["predict 7.png --run RUN"]),
    "ch03_mnist_ae_rbm autoencoder": (AUTOENCODER, ["reconstruct 7.png --run RUN"]),
    "ch03_mnist_ae_rbm rbm": (RBM, ["recommend --user 1 --run RUN"]),
    "ch05_lstm": (LSTM, ["generate --length 4 --run RUN", "generate --next-word a --run RUN"]),
    "ch06_cnn": (CNN, ["predict ship.png --run RUN"]),
    "ch06_cnn speedrun": (SPEEDRUN, ["predict ship.png --run RUN"]),
    "ch07_dqn": (DQN, ["map --solve", "play --seconds 0 --run RUN"]),
    "ch07_dqn planner": (PLANNER, ["play --seconds 0 --run RUN"]),
    "ch08_vae": (
        VAE,
        ["sample --run RUN", "reconstruct 7.png --run RUN", "interpolate 0 1 --run RUN"],
    ),
    "ch08_vae conv": (CONV, []),
}
EVALUATIONS = {"ch07_dqn planner": "--count 2", "ch08_vae": "--samples 2 --images 2 --k 2"}
# These commands are the same code for all models: once with the loop of `fit`, once with another.
ONCE_MORE = ("ch03_mnist_ae_rbm", "ch07_dqn")
# Without compilation they take half a minute and do what the other networks do.
COMPILED = {"ch03_mnist_ae_rbm autoencoder", "ch06_cnn", "ch06_cnn speedrun", "ch08_vae conv"}
OTHERS = [
    "zoo chapters",
    "zoo data list",
    "slow: zoo doctor",
    "zoo visit --out page",
    "zoo.ch10_deploy export ch07_dqn --run published --format onnx --out onnx",
    "zoo.ch01_graphs add --out add.png",
    "zoo.ch01_graphs draw zoo.ch02_basic_nn:loss --out loss.svg",
    "zoo.ch04_gpu devices",
    "slow: zoo.ch04_gpu bench feedforward-book --runs 1 --seconds 0.01 --out bench",
    "slow: zoo.ch04_gpu check feedforward-book --out check",
    "zoo.ch04_gpu toy",
    "zoo.ch09_pipeline init pipeline",
    "zoo.ch10_deploy keys add someone --file keys.json",
    "zoo.ch10_deploy keys list --file keys.json",
]


def commands() -> list[str]:
    """All of them, in an order in which each finds what it needs."""
    found = list(OTHERS)
    for model, (flags, own) in MODELS.items():
        out = Path("my runs [1]") / model.replace(" ", "_")
        names = [f"evaluate --run RUN {EVALUATIONS.get(model, '')}"]
        if model in ONCE_MORE:
            names += ["slow: figures --run RUN", "slow: export --run RUN", "train --resume RUN"]
            names.append(f"slow: bench --seconds 0.01 {flags}")
        for name in [f"train {flags} --out RUN", *names, *own]:
            _, colon, command = name.rpartition("slow: ")
            slow = colon or ("slow: " if model in COMPILED else "")
            text = f"{slow}zoo.{model} {command}".replace("RUN", shlex.quote(str(out)))
            found.append(text.replace("--data sample", "") if "bench" in command else text)
    return found


def inputs() -> None:
    """The pictures and the text that the commands read."""
    import numpy as np
    import PIL.Image

    rng = np.random.default_rng(0)
    digit = np.zeros((28, 28), np.uint8)
    digit[6:9, 8:20] = digit[9:22, 16:19] = 255
    PIL.Image.fromarray(digit).save("7.png")
    PIL.Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save("ship.png")
    letters = rng.choice(list("abc \n"), 800)
    Path("text.txt").write_text("".join(letters), encoding="utf-8")


def run(command: str) -> str:
    """Runs a command as `python -m` does; the end of its traceback, empty if it succeeded."""
    module, *arguments = shlex.split(command)
    before, sys.argv = sys.argv, [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return "" if end.code in (None, 0) else f"exit status {end.code}"
    except BaseException:
        return traceback.format_exc()[-3_000:]
    finally:
        sys.argv = before
    return ""


def main(folder: str) -> None:
    """Runs all commands in `folder`."""
    os.chdir(folder)
    inputs()
    compiled = os.environ.get("JAX_DISABLE_JIT", "0") == "0"
    with open("results.jsonl", "w", encoding="utf-8") as results:
        for text in commands():
            slow, command = text.startswith("slow: "), text.removeprefix("slow: ")
            if slow and not compiled:
                continue
            began, errors = time.monotonic(), io.StringIO()
            with contextlib.redirect_stderr(errors):
                fault = run(command)
            if fault:
                fault += errors.getvalue()[-500:]
            line = {"command": command, "fault": fault, "seconds": time.monotonic() - began}
            results.write(json.dumps(line) + "\n")
            results.flush()


if __name__ == "__main__":
    main(sys.argv[1])
