"""The maze in Gymnasium: its checker, the same steps, only its actions, all render modes, forks."""

import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import book, environment
from zoo.ch07_dqn import maze as mazes

gymnasium = pytest.importorskip("gymnasium")

EAST, SOUTH, NORTH, WEST = range(4)
generate = jax.jit(mazes.generate, static_argnames=("rows", "columns", "grid"))


@pytest.fixture
def make():
    from zoo.ch07_dqn.gym import MazeEnv

    return MazeEnv


@pytest.fixture
def params(getkey):
    return environment.modern(generate(getkey(), rows=2, columns=3))


@pytest.fixture
def bend():
    """Three cells around a corner: 0 east to 1, 1 south to 3; cell 2 is the goal, west of 3."""
    exits = jnp.array([[1, 10], [1, 12]], jnp.uint8)
    return environment.modern(mazes.Maze(exits, jnp.int32(0), jnp.int32(2)), limit=4)


def test_episodes_start_anywhere_alike_but_at_the_goal(getkey, make):
    maze = generate(getkey(), rows=2, columns=3)
    env = make(environment.modern(maze, spread=True))
    env.reset(seed=0)
    sites, counts = np.unique([env.reset()[0] for _ in range(4000)], return_counts=True)
    floor = np.flatnonzero(np.asarray(maze.exits))
    assert sites.tolist() == floor[floor != int(maze.goal)].tolist()
    expected = 4000 / len(sites)
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()
    env = make(environment.modern(maze))
    assert {env.reset()[0] for _ in range(20)} == {int(maze.start)}


def test_gymnasium_accepts_the_adapter_and_it_walks_alike(getkey, make):
    from gymnasium.utils.env_checker import check_env

    params = book.make_params(getkey(), generate(getkey(), rows=2, columns=3), limit=40)
    env = make(params, render_mode="ansi")
    check_env(env, skip_render_check=True)
    obs, _ = env.reset(seed=0)
    actions = np.asarray(jax.random.randint(getkey(), (60,), 0, 4))
    move = jax.jit(environment.step_and_reset)
    state, key = environment.reset(getkey(), params)[1], getkey()
    assert obs == state.site
    for action in actions.tolist():
        step = move(jax.random.clone(key), state, jnp.int32(action), params)
        obs, reward, terminated, truncated, info = env.step(action)
        assert (obs, reward, terminated, truncated) == (
            int(step[5]["last"]),
            *(part.item() for part in step[2:5]),
        )
        assert np.array_equal(info["legal"], mazes.legal(params.maze.exits.reshape(-1)[obs]))
        if terminated or truncated:
            env.reset()
        state = step[1]
    assert "@" in env.render()


def test_gymnasium_s_checker_warns_of_nothing_in_any_render_mode(make, params, capsys):
    from gymnasium.utils.env_checker import check_env

    gymnasium.register("zoo-test/Maze-v0", entry_point=make, kwargs={"params": params})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in (None, *make.metadata["render_modes"]):
            check_env(gymnasium.make("zoo-test/Maze-v0", render_mode=mode).unwrapped)
    del gymnasium.registry["zoo-test/Maze-v0"]


@pytest.mark.parametrize("action", [0, True, np.int64(1), np.uint8(2), np.array(3), jnp.int32(0)])
def test_an_action_may_be_any_integer(make, bend, action):
    env = make(bend)
    env.reset()
    site = env.step(action)[0]
    env.reset()
    assert site == env.step(int(action))[0]


@pytest.mark.parametrize(
    "action", [-1, 4, 2**70, 1.0, 1.5, np.float32(1), "east", None, np.array([1]), np.int64(-1)]
)
def test_what_is_no_action_is_refused(make, bend, action):
    env = make(bend)
    before, _ = env.reset()
    with pytest.raises(ValueError, match=r"got the action .*, expected one of 0 \(east\), 1"):
        env.step(action)
    assert (env.site, env.time) == (before, 0)


def test_steps_need_an_episode(make, bend):
    env = make(bend)
    needed = gymnasium.error.ResetNeeded
    with pytest.raises(needed, match=r"call reset\(\) first"):
        env.step(EAST)
    env.reset()
    assert [env.step(action)[2] for action in (EAST, SOUTH, WEST)] == [False, False, True]
    with pytest.raises(needed):
        env.step(EAST)
    env.reset()
    assert [env.step(NORTH)[3] for _ in range(4)] == [False, False, False, True]
    with pytest.raises(needed):
        env.step(EAST)


PICTURE = ["██████████", "██@     ██", "██████  ██", "██G     ██", "██████████"]


def test_human_prints_the_maze_at_each_step(make, bend, capsys):
    env = make(bend, render_mode="human")
    env.reset()
    env.step(EAST)
    moved = [PICTURE[0], "██S   @ ██", *PICTURE[2:]]
    assert capsys.readouterr().out.splitlines() == [*PICTURE, "", *moved, ""]
    assert env.render() is None


def test_human_prints_to_a_terminal_without_unicode(make, bend, monkeypatch, tmp_path):
    with open(tmp_path / "terminal", "w", encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        make(bend, render_mode="human").reset()
        monkeypatch.undo()
    assert (tmp_path / "terminal").read_text().splitlines()[1] == "##@     ##"


def test_the_picture_has_a_square_for_each_tile(make, bend):
    env = make(bend, render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((40, 40, 3), np.uint8)
    assert (picture[:8] == picture[0, 0]).all()  # the wall
    walker, goal, floor = picture[8, 8], picture[24, 8], picture[8, 16]
    assert len({tuple(c.tolist()) for c in (walker, goal, floor, picture[0, 0])}) == 4


@pytest.mark.parametrize("mode", ["rgb", "Human", ""])
def test_unknown_render_modes_are_refused(make, bend, mode):
    with pytest.raises(ValueError, match=r"render mode .*, expected one of human, ansi, rgb_array"):
        make(bend, render_mode=mode)


FORKED = """
import jax, numpy as np
from gymnasium.vector import AsyncVectorEnv
from zoo.ch07_dqn import environment, maze
from zoo.ch07_dqn.gym import MazeEnv

params = environment.modern(maze.generate(jax.random.key(2), 11, 21, grid="cells"))
makers = [
    lambda: MazeEnv(seed=1, render_mode="ansi"),
    lambda: MazeEnv(seed=np.int64(2), render_mode="ansi"),
    lambda: MazeEnv(params, render_mode="ansi"),
]
env = AsyncVectorEnv(makers, context="fork", observation_mode="same")
sites = [env.reset(seed=0)[0]] + [env.step(np.full(3, a))[0] for a in (0, 1, 0, 1)]
pictures = env.call("render")
env.close()
for i, make in enumerate(makers):
    here = make()
    walk = [here.reset(seed=0)[0]] + [here.step(a)[0] for a in (0, 1, 0, 1)]
    assert walk == [s[i] for s in sites]
    assert here.render() == pictures[i]
print("alike")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked")
def test_forked_environments_walk_as_those_here(request):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        env=request.getfixturevalue("environment"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "alike\n", done.stderr


def test_a_seed_is_the_same_maze_in_a_program_with_64_bits():
    from zoo.ch07_dqn import gym

    gym._of_seed.cache_clear()
    expected = gym.MazeEnv(seed=3).maze
    gym._of_seed.cache_clear()
    with jax.enable_x64(True):
        jax.tree.map(np.testing.assert_array_equal, gym.MazeEnv(seed=3).maze, expected)
    gym._of_seed.cache_clear()
