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

import zoo
from zoo import ch07_dqn as dqn
from zoo.ch07_dqn import figures
from zoo.ch07_dqn.agent.train import q_values
from zoo.ch07_dqn.play import show

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## Mazes are data
#
# A maze is an array: for each tile four bits, one for each way out. The seed is an argument of the
# compiled function, so thousands of mazes cost one call. 5x10 cells give the book's 11x21 tiles.

# %%
maze = dqn.maze.generate(jax.random.key(7))
print(dqn.maze.draw(maze, dict.fromkeys(dqn.maze.shortest(maze)[1:-1], "·")))

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


mazes = dqn.TASKS[0].load(small, "auto", None)
run = dqn.train(small, mazes.train, follow=follow)

# %%
steps = small.epoch_steps * np.arange(1, small.epochs + 1)
figures.learning_curve(run.home, run.lengths, steps, mazes.description)

# %% [markdown]
# ## What it knows, and its walk

# %%
net, params = jax.tree.map(lambda a: a[0], (run.agents.params, dqn.make_mazes(small)))
tried = dqn.greedy(small, net, params)
figures.values(params.maze, tried.values, "values of the network")

# %%
sites = dqn.maze.until_goal(tried.walk.sites, int(params.maze.goal))
show(params.maze, sites)

# %% [markdown]
# Value iteration knows the maze and gives the true values. How far off is the network?

# %%
best = dqn.environment.optimal_values(params, small.discount).max(-1)
found = q_values(small, net, jnp.arange(len(best))).max(-1)
on_way = np.array(sites[:-1])
for site in on_way[:: max(1, len(on_way) // 6)]:
    print(f"tile {site:3d}: value {found[site]:7.3f}, true {best[site]:7.3f}")

# %% [markdown]
# ## One network for all mazes
#
# `planner` is a Q-network that looks at the whole maze and applies one convolution again and again.
# It has 256 parameters. A trained one comes with zoo: `python -m zoo.ch07_dqn planner train`
# trained it on mazes that were new at every step. This is its way through another one.

# %%
trained = zoo.published("ch07_dqn/planner")
print(sum(a.size for a in jax.tree.leaves(trained.params)), "parameters")
cells = dqn.maze.generate(jax.random.key(1), rows=5, columns=5, grid="cells")
values = trained.predict(exits=cells.exits[None], goal=cells.goal[None])["values"][0]
walk = dqn.environment.walk(cells, dqn.maze.best_moves(cells, values))
walk = dqn.maze.until_goal(walk.sites, int(cells.goal))
show(*dqn.maze.walk_over_tiles(cells, walk))
