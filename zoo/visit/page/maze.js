// Mazes of cells, the planner of chapter 7 round by round, and a table that learns by walking.
// Actions are east, south, north, west; bit a of a cell's exits is set where action a is open.

export const MOVES = [[0, 1], [1, 0], [-1, 0], [0, -1]];

// A perfect maze by randomised depth-first search: bytes [rows * columns].
export function depthFirst(random, rows, columns) {
  const exits = new Uint8Array(rows * columns), seen = new Set([0]), path = [0];
  while (path.length) {
    const here = path.at(-1), y = Math.floor(here / columns), x = here % columns;
    const ways = MOVES.map(([down, right], action) => [y + down, x + right, action])
      .filter(([v, u]) => v >= 0 && v < rows && u >= 0 && u < columns && !seen.has(v * columns + u));
    if (!ways.length) {
      path.pop();
      continue;
    }
    const [v, u, action] = ways[Math.floor(random() * ways.length)], to = v * columns + u;
    exits[here] |= 1 << action;
    exits[to] |= 1 << (3 - action);
    seen.add(to);
    path.push(to);
  }
  return exits;
}

// Values of all actions in all cells, [cells * 4], from those of the cells: one convolution.
function look({ kernel, bias }, values, exits, goal, rows, columns) {
  const q = new Float64Array(exits.length * 4);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const to = (y * columns + x) * 4;
      for (let action = 0; action < 4; action++) q[to + action] = bias[action];
      for (let i = 0; i < 3; i++) {
        for (let j = 0; j < 3; j++) {
          const v = y + i - 1, u = x + j - 1;
          if (v < 0 || v >= rows || u < 0 || u >= columns) continue;
          const cell = v * columns + u, tap = (i * 3 + j) * 7 * 4;
          for (let action = 0; action < 4; action++) {
            let sum = values[cell] * kernel[tap + action];
            for (let way = 0; way < 4; way++) if ((exits[cell] >> way) & 1) sum += kernel[tap + 4 * (1 + way) + action];
            if (cell === goal) sum += kernel[tap + 20 + action];
            q[to + action] += sum + kernel[tap + 24 + action];
          }
        }
      }
    }
  }
  return q;
}

// The value of each cell: that of its best open move.
export function best(q, exits) {
  return Float64Array.from(exits, (ways, cell) => {
    let most = -Infinity;
    for (let action = 0; action < 4; action++) if ((ways >> action) & 1) most = Math.max(most, q[4 * cell + action]);
    return most;
  });
}

// The planner's values of moves after each round: `rounds` arrays of [cells * 4].
export function* plan(layer, exits, goal, rows, columns, rounds) {
  let values = new Float64Array(exits.length);
  for (let round = 0; round < rounds; round++) {
    const q = look(layer, values, exits, goal, rows, columns);
    yield q;
    values = best(q, exits);
  }
}

export function greedy(q, exits, cell) {
  let found = -1;
  for (let action = 0; action < 4; action++) {
    if ((exits[cell] >> action) & 1 && (found < 0 || q[4 * cell + action] > q[4 * cell + found])) found = action;
  }
  return found;
}

export const beside = (cell, action, columns) => cell + MOVES[action][0] * columns + MOVES[action][1];

// The cells of the greedy way from the start; it ends at the goal, or where it comes back.
export function way(q, exits, goal, columns, start = 0) {
  const cells = [start], seen = new Set(cells);
  while (cells.at(-1) !== goal) {
    const action = greedy(q, exits, cells.at(-1));
    if (action < 0) break;
    const next = beside(cells.at(-1), action, columns);
    cells.push(next);
    if (seen.has(next)) break;
    seen.add(next);
  }
  return cells;
}

// Steps to the goal of the shortest way from each cell; Infinity where there is none.
export function distances(exits, goal, columns) {
  const steps = new Array(exits.length).fill(Infinity), queue = [goal];
  steps[goal] = 0;
  for (const cell of queue) {
    for (let action = 0; action < 4; action++) {
      if (!((exits[cell] >> action) & 1)) continue;
      const next = beside(cell, action, columns);
      if (steps[next] < Infinity) continue;
      steps[next] = steps[cell] + 1;
      queue.push(next);
    }
  }
  return steps;
}

// Tabular Q-learning: each move costs 1, an episode begins anywhere and ends at the goal.
export function learner(exits, goal, columns, random, { rate = 0.5, discount = 0.95, epsilon = 0.2 } = {}) {
  const q = new Float64Array(exits.length * 4);
  const anywhere = () => {
    for (;;) {
      const cell = Math.floor(random() * exits.length);
      if (cell !== goal && exits[cell]) return cell;
    }
  };
  const state = { q, cell: anywhere(), moves: 0, episodes: 0 };
  state.step = () => {
    const open = [0, 1, 2, 3].filter((action) => (exits[state.cell] >> action) & 1);
    const action = random() < epsilon ? open[Math.floor(random() * open.length)] : greedy(q, exits, state.cell);
    const next = beside(state.cell, action, columns), at = 4 * state.cell + action;
    const later = next === goal ? 0 : q[4 * next + greedy(q, exits, next)];
    q[at] += rate * (-1 + discount * later - q[at]);
    state.moves++;
    state.episodes += next === goal;
    state.cell = next === goal ? anywhere() : next;
  };
  return state;
}
