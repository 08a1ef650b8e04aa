"""Chapter 6's speed run in PyTorch, to compare: `python -m benchmarks.ch06_speedrun_torch`.

The same network, start, data, order of ideas and schedule as `zoo.ch06_cnn.speedrun`; the command
trains it on CIFAR-10 and prints the accuracy beside the seconds.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import time

import numpy as np
import torch
from torch.nn import functional

from zoo.ch06_cnn.speedrun.images import views
from zoo.ch06_cnn.speedrun.model import RECIPES, Config
from zoo.ch06_cnn.speedrun.task import TASK
from zoo.common import bench

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def orthogonal(gradient: torch.Tensor) -> torch.Tensor:
    """Muon's direction: three Newton-Schulz iterations on the kernel as a matrix of O rows."""
    x = gradient.flatten(1)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    x = x / (x.norm() + 1e-8)
    for _ in range(3):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if turned else x).reshape(gradient.shape)


class Trainer:
    """The network with its solver; `train` and `infer` do one batch and give its size."""

    def __init__(
        self,
        config: Config,
        data: dict[str, np.ndarray],
        *,
        channels_last: bool = True,
        compiled: bool = False,
    ):
        """Takes images, uint8 [N, 32, 32, 3], and labels; the weights begin as zoo's do."""
        self.config, self.count = config, len(data["label"])
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        images = torch.from_numpy(np.ascontiguousarray(data["image"])).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=self.layout)
        self.labels = torch.from_numpy(np.asarray(data["label"], np.int64))
        self.whiten, self.conv, self.head = self._copy(TASK.begin(config, data).params)
        self.biases = [self.whiten[1], *[bias for _, bias in self.conv]]
        self.kernels = [kernel for kernel, _ in self.conv]
        self.moments = [(torch.zeros_like(b), torch.ones_like(b)) for _, b in self.conv]
        self.learnt = [*self.kernels, *self.biases, self.head]
        self.momentum = [torch.zeros_like(w) for w in self.learnt]
        self.average = [w.detach().clone() for w in self.learnt]
        self.side = torch.from_numpy(TASK.prepare(config, data)["side"]).bool()
        self.steps, self.step = self.count // config.batch_size, 0
        self.order = torch.randperm(self.count)
        self.logits = torch.compile(self._logits) if compiled else self._logits
        self.update = torch.compile(self._update) if compiled else self._update

    def _copy(self, params):
        def tensor(array, axes=None):
            array = np.asarray(array) if axes is None else np.asarray(array).transpose(axes)
            return torch.from_numpy(array.copy())

        def layer(given):
            kernel = tensor(given["kernel"], (3, 2, 0, 1)).to(memory_format=self.layout)
            return kernel.requires_grad_(), tensor(given["bias"]).requires_grad_()

        first, bias = layer(params["whiten"])
        head = tensor(params["output"]["kernel"]).requires_grad_()
        return (first.requires_grad_(False), bias), [layer(p) for p in params["conv"]], head

    def scale(self, images):
        """uint8 pixels as float32."""
        mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        return (images.float() / 255.0 - mean) / torch.tensor(DEVIATION).view(1, 3, 1, 1)

    def _logits(self, images, training: bool):
        x = self.scale(images)
        x = functional.gelu(functional.conv2d(x, *self.whiten), approximate="tanh")
        for n, ((kernel, bias), moments) in enumerate(zip(self.conv, self.moments, strict=True)):
            x = functional.conv2d(x, kernel, padding=1)
            if n % 2 == 0:
                x = functional.max_pool2d(x, 2)
            x = functional.batch_norm(x, *moments, None, bias, training, 0.1, 1e-5)
            x = functional.gelu(x, approximate="tanh")
        return x.amax((2, 3)) @ self.head / self.head.shape[0] ** 0.5

    def augment(self, images, side, epoch):
        """Alternating flips and reflected shifts."""
        shift, count = self.config.shift, len(images)
        padded = functional.pad(images.float(), (shift,) * 4, mode="reflect").to(torch.uint8)
        place = torch.arange(32)
        rows, columns = (torch.randint(0, 2 * shift + 1, (count, 1)) + place for _ in range(2))
        columns = torch.where((side ^ bool(epoch % 2))[:, None], columns.flip(1), columns)
        each = torch.arange(count)[:, None, None]
        padded = padded.permute(0, 2, 3, 1)
        moved = padded[each, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
        return moved.contiguous(memory_format=self.layout)

    def rate(self) -> float:
        """Share of the peak rates at this step."""
        whole = self.config.epochs * self.steps
        top = max(1, round(self.config.rise * whole))
        if self.step < top:
            return 0.2 + 0.8 * self.step / top
        return max(0.0, 1 - (self.step - top) / max(1, whole - top))

    @torch.no_grad()
    def _update(self, rate, share):
        c = self.config
        peaks = [c.learning_rate] * len(self.kernels) + [c.bias_rate] * len(self.biases)
        for n, (w, m, peak) in enumerate(
            zip(self.learnt, self.momentum, [*peaks, c.head_rate], strict=True)
        ):
            if n < len(self.kernels):
                m.lerp_(w.grad, 0.4)
                w.sub_(orthogonal(w.grad.lerp(m, 0.6)), alpha=rate * peak)
                w.mul_(math.sqrt(w.shape[0]) / w.norm())
            else:
                m.mul_(0.85).add_(w.grad)
                w.sub_(w.grad + 0.85 * m, alpha=rate * peak)
            self.average[n].lerp_(w, share)

    def train(self) -> int:
        """One update."""
        epoch, number = divmod(self.step, self.steps)
        if number == 0:
            self.order = torch.randperm(self.count)
        size = self.config.batch_size
        index = self.order[number * size : (number + 1) * size]
        images = self.augment(self.images[index], self.side[index], epoch)
        for w in self.learnt:
            w.grad = None
        loss = functional.cross_entropy(
            self.logits(images, True),
            self.labels[index],
            label_smoothing=self.config.label_smoothing,
        )
        loss.backward()
        share = max(1 - self.config.average, 20 / (20 + self.step))
        self.update(self.rate(), share)
        self.step += 1
        return size

    @torch.inference_mode()
    def infer(self) -> int:
        """One batch of one view."""
        index = self.order[: self.config.batch_size]
        self.logits(self.images[index], False)
        return len(index)

    @torch.no_grad()
    def accuracy(self, data: dict[str, np.ndarray], size: int = 500) -> float:
        """Of the averaged weights, with all views, on other images."""
        for w, average in zip(self.learnt, self.average, strict=True):
            w.copy_(average)
        right = 0
        for first in range(0, len(data["label"]), size):
            part = np.ascontiguousarray(data["image"][first : first + size])
            seen, weights = views(part, self.config.views)
            tensors = torch.from_numpy(np.asarray(seen).copy()).permute(0, 1, 4, 2, 3)
            logits = sum(
                float(w) * self._logits(v.contiguous(memory_format=self.layout), False)
                for v, w in zip(tensors, weights, strict=True)
            )
            right += int((logits.argmax(1).numpy() == data["label"][first : first + size]).sum())
        return right / len(data["label"])


def main() -> None:
    """Trains once and prints accuracy and seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="holdout", choices=("holdout", "official", "all"))
    for name in ("width", "epochs", "batch_size", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    for name in ("learning_rate", "bias_rate", "head_rate"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float)
    parser.add_argument("--default-layout", action="store_true", help="not channels-last")
    parser.add_argument("--compiled", action="store_true", help="torch.compile")
    parser.add_argument("--data-dir", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    asked = parser.parse_args()
    given = {k: v for k, v in vars(asked).items() if v is not None and hasattr(Config, k)}
    config = dataclasses.replace(RECIPES["speedrun-cpu"], **given)
    torch.manual_seed(config.seed)
    torch.set_num_threads(bench.system()["threads"])
    dataset = TASK.load(config, "real", asked.data_dir)
    trainer = Trainer(
        config, dataset.train, channels_last=not asked.default_layout, compiled=asked.compiled
    )
    began = time.perf_counter()
    for epoch in range(config.epochs):
        for _ in range(trainer.steps):
            trainer.train()
        print(f"epoch {epoch + 1}: {time.perf_counter() - began:.1f} s", flush=True)
    seconds = time.perf_counter() - began
    found = {"test_accuracy": trainer.accuracy(dataset.test), "train_seconds": seconds}
    found |= {"config": dataclasses.asdict(config), "data": dataset.description}
    found |= {"torch": torch.__version__, "system": bench.system()}
    print(f"test accuracy {found['test_accuracy']:.4f} after {seconds:.1f} s of training")
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
