"""Chapter 7 against PyTorch and Gymnasium: `python -m benchmarks.ch07_dqn` (extras `bench`, `gym`).

Training: a DQN in one maze of 5x10 cells, the network of recipe `modern` (231-32-4, one-hot
tiles), double DQN, Huber's loss, RMSProp; each step of the environment is followed by one update
on 32 of the last 2,000 transitions. Environment: steps of a random policy with a new episode where
one ends.
"""

import collections
import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch07_dqn import environment
from zoo.ch07_dqn.agent import model
from zoo.ch07_dqn.agent.train import make_agents, make_params, run_epoch
from zoo.common import bench, device

CONFIG = model.RECIPES["modern"]
MAZES, STEPS, MANY = 1024, 1000, 64
TASKS = ("training", "environment")
BASE = "PyTorch and Gymnasium"
MANY_AGENTS = f"zoo, {MANY} mazes at once"
NOTE = (
    "One maze and one agent for both in training, so that neither has the advantage of a batch of "
    f"environments; '{MANY_AGENTS}' trains so many agents in one compiled call and counts the "
    f"steps of all. In the task environment zoo walks {MAZES:,} mazes at once and Gymnasium one. "
    "The loop in PyTorch keeps its transitions in a deque and draws them by random.sample."
)


def zoo_training(agents: int) -> tuple[Run, float]:
    """Steps with updates of so many agents, and the seconds that compilation took."""
    state, params = device.jit(make_agents, static_argnums=(0, 1))(CONFIG, agents)
    epoch, compile_seconds = harness.compiled(
        lambda state, params: run_epoch(state, CONFIG, params)[0], state, params
    )

    def one() -> int:
        nonlocal state
        state = jax.block_until_ready(epoch(state, params))
        return agents * CONFIG.epoch_steps

    return repeat(one), compile_seconds


def random_steps(key: jax.Array, params: environment.Params, steps: int) -> jax.Array:
    """The sums of the rewards of `steps` random steps in many mazes [N] at once, [steps]."""
    actions_key, reset_key = jax.random.split(key)
    keys = jax.random.split(reset_key, len(params.bump))
    state = jax.vmap(environment.reset)(keys, params)[1]
    actions = jax.random.bits(actions_key, (steps, len(keys)), jnp.uint8) & 3  # one of four

    def move(state: environment.State, action: jax.Array) -> tuple[environment.State, jax.Array]:
        moved = jax.vmap(environment.step_and_reset)(keys, state, action, params)
        return moved[1], moved[2].sum()

    return jax.lax.scan(move, state, actions)[1]


def zoo_environment(count: int) -> tuple[Run, float]:
    """Random steps in so many mazes at once, and the seconds that compilation took."""
    params = device.jit(jax.vmap(lambda seed: make_params(CONFIG, seed)))(jnp.arange(count))
    walk, compile_seconds = harness.compiled(
        lambda key, params: random_steps(key, params, STEPS), jax.random.key(0), params
    )
    number = itertools.count()

    def one() -> int:
        walk(jax.random.key(next(number)), params).block_until_ready()
        return STEPS * count

    return repeat(one), compile_seconds


def torch_training() -> Run:
    """The same agent as it is customarily written."""
    import torch
    from torch import nn

    from zoo.ch07_dqn.gym import MazeEnv

    torch.set_num_threads(bench.system()["threads"])
    torch.manual_seed(0)
    env = MazeEnv(device.jit(lambda: make_params(CONFIG, 0))())
    sites, legal = env.observation_space.n, torch.as_tensor(env.legal.copy())

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Linear(sites, CONFIG.hidden[0]), nn.ReLU(), nn.Linear(CONFIG.hidden[0], 4)
        )

    net, target = network(), network()
    target.load_state_dict(net.state_dict())
    optimizer = torch.optim.RMSprop(net.parameters(), CONFIG.learning_rate, alpha=0.999, eps=1e-4)
    huber, memory = nn.SmoothL1Loss(), collections.deque(maxlen=CONFIG.capacity)
    one_hot = torch.eye(sites)
    barred = torch.where(legal, 0.0, -torch.inf)
    site, step, epsilon = env.reset(seed=0)[0], 0, CONFIG.epsilon

    def act() -> int:
        if random.random() < epsilon:
            return random.choice(np.flatnonzero(env.legal[site]).tolist())
        with torch.no_grad():
            return int((net(one_hot[site]) + barred[site]).argmax())

    def learn() -> None:
        batch = random.sample(memory, CONFIG.batch_size)
        before, action, reward, after, terminated = map(torch.tensor, zip(*batch, strict=True))
        with torch.no_grad():
            best = (net(one_hot[after]) + barred[after]).argmax(1, keepdim=True)
            follows = target(one_hot[after]).gather(1, best)[:, 0]
            wanted = reward + CONFIG.discount * follows * ~terminated
        value = net(one_hot[before]).gather(1, action[:, None])[:, 0]
        optimizer.zero_grad()
        huber(value, wanted).backward()
        optimizer.step()

    def one() -> int:
        nonlocal site, step, epsilon
        action = act()
        after, reward, terminated, truncated, _ = env.step(action)
        memory.append((site, action, reward, after, terminated))
        site, step = after, step + 1
        if terminated or truncated:
            site = env.reset()[0]
            epsilon = max(CONFIG.epsilon_min, CONFIG.epsilon_decay * epsilon)
        if len(memory) >= CONFIG.batch_size:
            learn()
        if step % CONFIG.target_every == 0:
            target.load_state_dict(net.state_dict())
        return 1

    for _ in range(100):
        one()
    return repeat(one)


def gymnasium_environment() -> Run:
    """Random steps in one maze."""
    from zoo.ch07_dqn.gym import MazeEnv

    env = MazeEnv(device.jit(lambda: make_params(CONFIG, 0))())
    env.reset(seed=0)

    def one() -> int:
        for _ in range(100):
            _, _, terminated, truncated, _ = env.step(random.getrandbits(2))
            if terminated or truncated:
                env.reset()
        return 100

    return repeat(one)


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on a task, and the seconds that compilation took."""
    if name == BASE:
        return (torch_training if task == "training" else gymnasium_environment)(), 0.0
    if task == "environment":
        return zoo_environment(MAZES if name == ZOO else MANY)
    return zoo_training(1 if name == ZOO else MANY)


ROW = harness.Row(
    name="ch07_dqn",
    title=f"Chapter 7, batch {CONFIG.batch_size}",
    unit="steps",
    base=BASE,
    contenders=(MANY_AGENTS, BASE),
    tasks=TASKS,
    contend=contend,
    note=NOTE,
    about=lambda: {"batch": CONFIG.batch_size, "mazes": MAZES, "agents": MANY},
    needs=("torch", "gymnasium"),
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
