# %% [markdown]
# # Chapter 7: a DQN that solves mazes
#
# Everything here is a pure function: `dqn.maze` makes mazes, `dqn.environment` walks in them,
# `dqn.init`, `dqn.apply` and `dqn.loss` are the Q-network, and one step of an agent (act, remember,
# replay) takes a state and gives a state. So a whole training run is one compiled loop. This
# notebook calls them one by one and defines nothing much: read `zoo/ch07_dqn/` for that.
#
# It trains in a small maze, so that everything runs in about a minute on two cores. In a terminal,
# `python -m zoo.ch07_dqn train` and then `play` do the book's size.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from zoo import ch07_dqn as dqn
from zoo.ch07_dqn import figures, views
from zoo.ch07_dqn.train import q_values

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## Mazes are data
#
# A maze is an array: for each tile four bits, one for each way out. The seed is an argument of the
# compiled function, so thousands of mazes cost one call. 5x10 cells give the book's 11x21 tiles.

# %%
maze = dqn.maze.generate(jax.random.key(7))
print(dqn.maze.draw(maze, dict.fromkeys(views.shortest(maze)[1:-1], "·")))

# %%
many = jax.jit(dqn.maze.many)(jnp.arange(1000))
lengths = jax.jit(jax.vmap(lambda m: dqn.maze.solve(m).reshape(-1)[m.start]))(many)
print(
    f"1,000 mazes {many.exits.shape}; the shortest ways have {lengths.mean():.0f} steps on average"
)

# %% [markdown]
# ## The environment
#
# `reset` and `step` take a key, a state and the parameters of the episode, and give new ones. Each
# step costs 1; against a wall one stays where one is.

# %%
params = dqn.environment.modern(maze)
key = jax.random.key(0)
obs, state = dqn.environment.reset(key, params)
for action in (3, 0, 0):  # west into the wall, then east twice
    obs, state, reward, terminated, truncated, info = dqn.environment.step(
        key, state, jnp.int32(action), params
    )
    print(f"{dqn.maze.ACTIONS[action]:<6} to tile {obs}, reward {reward}, open: {info['legal']}")

# %% [markdown]
# ## What a DQN learns from
#
# The value of a transition should have been the reward and the discounted value of the best move
# after it. Double DQN lets the newest network name that move and the frozen one value it.

# %%
dqn.td_target(
    reward_t=jnp.float32(-1),
    discount_t=jnp.float32(0.9),
    values_t=jnp.array([1.0, 2.0, 3.0, 4.0]),  # of the target network
    choosing_t=jnp.array([0.0, 9.0, 1.0, 2.0]),  # of the newest: the second action
    legal_t=jnp.array([True, True, True, False]),
)

# %% [markdown]
# ## Training
#
# Four mazes at once, one agent in each. The values begin at 0, which is better than anything to
# come, so the agents try everything that they don't know yet.

# %%
small = dataclasses.replace(
    dqn.RECIPES["modern"], rows=3, columns=5, mazes=4, limit=100, discount=0.95, epochs=12
)


def follow(reports):
    for report in reports:
        print(f"{report.epoch:3d}: " + ", ".join(f"{k} {v:.3f}" for k, v in report.metrics.items()))
    return report.state


run, params = dqn.train(small, follow=follow)

# %%
steps = small.epoch_steps * np.arange(1, small.epochs + 1)
figures.learning_curve(run.home, run.lengths, steps, "3x5 cells, four mazes")

# %% [markdown]
# ## What it knows, and its walk

# %%
first = jax.tree.map(lambda a: a[0], (run.agents, params))
tried = dqn.greedy(small, first[0].params, first[1])
figures.values(first[1].maze, tried.values, "values of the network")

# %%
sites = views.until_goal(tried.sites, int(first[1].maze.goal))
views.show(first[1].maze, sites)

# %% [markdown]
# Value iteration knows the maze and gives the true values. How far off is the network?

# %%
best = dqn.environment.optimal_values(first[1], small.discount).max(-1)
found = q_values(small, first[0].params, jnp.arange(len(best))).max(-1)
on_way = np.array(sites[:-1])
for site in on_way[:: max(1, len(on_way) // 6)]:
    print(f"tile {site:3d}: value {found[site]:7.3f}, true {best[site]:7.3f}")

# %% [markdown]
# ## One network for all mazes
#
# `planner` is a Q-network that looks at the whole maze and applies one convolution again and again.
# It has 256 parameters. Untrained it knows nothing; `python -m zoo.ch07_dqn planner train` trains
# it on mazes that are new at every step, and tries it on mazes that it never saw.

# %%
planner_params = dqn.planner.init(jax.random.key(0), dqn.planner.RECIPES["modern"])
cells = dqn.maze.many(jnp.arange(3), rows=5, columns=5, grid="cells")
values = dqn.planner.apply(planner_params, dqn.planner.image(cells.exits, cells.goal), rounds=26)
print(sum(a.size for a in jax.tree.leaves(planner_params)), "parameters, values", values.shape)
