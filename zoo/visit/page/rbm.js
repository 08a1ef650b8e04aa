// The restricted Boltzmann machine of chapter 3 with softmax units, for lists of [movie, rating].
// Arrays are flat: kernel [values, movies, hidden], visible [values, movies], rated [movies, hidden].

export const VALUES = 5;
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

export function create(movies, hidden, random, scale = 0.01) {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const drawn = (size) => Float64Array.from({ length: size }, () => scale * normal());
  return {
    movies, hidden,
    kernel: drawn(VALUES * movies * hidden), visible: new Float64Array(VALUES * movies),
    biases: new Float64Array(hidden), rated: drawn(movies * hidden),
  };
}

// p(h = 1 | ratings), where each movie has shares of the five values.
function hiddenOf(params, list, shares) {
  const { movies, hidden, kernel, rated } = params, inputs = Float64Array.from(params.biases);
  list.forEach(([movie], n) => {
    for (let k = 0; k < VALUES; k++) {
      const share = shares[VALUES * n + k];
      if (!share) continue;
      const from = (k * movies + movie) * hidden;
      for (let h = 0; h < hidden; h++) inputs[h] += share * kernel[from + h];
    }
    for (let h = 0; h < hidden; h++) inputs[h] += rated[movie * hidden + h];
  });
  return inputs.map(sigmoid);
}

// p(value | h) of one movie.
function valuesOf({ movies, hidden, kernel, visible }, movie, units) {
  const inputs = new Float64Array(VALUES);
  for (let k = 0; k < VALUES; k++) {
    const from = (k * movies + movie) * hidden;
    let sum = visible[k * movies + movie];
    for (let h = 0; h < hidden; h++) sum += units[h] * kernel[from + h];
    inputs[k] = sum;
  }
  const most = Math.max(...inputs), powers = inputs.map((x) => Math.exp(x - most));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / total);
}

const given = (list) => {
  const shares = new Float64Array(VALUES * list.length);
  list.forEach(([, rating], n) => (shares[VALUES * n + rating - 1] = 1));
  return shares;
};

// The expected rating of every movie, from the known ones.
export function expected(params, list) {
  const units = hiddenOf(params, list, given(list));
  return Float64Array.from({ length: params.movies }, (_, movie) =>
    valuesOf(params, movie, units).reduce((sum, p, k) => sum + p * (k + 1), 0));
}

// The gradient of contrastive divergence, CD-1, as a mean over the users of a batch: that of
// `rbm.model.loss`. Without `random` each layer is set to its probabilities.
export function gradient(params, users, random) {
  const { movies, hidden } = params;
  const sums = Object.fromEntries(["kernel", "visible", "biases", "rated"].map((name) => [name, new Float64Array(params[name].length)]));
  const add = (list, shares, units, factor) => {
    list.forEach(([movie], n) => {
      for (let k = 0; k < VALUES; k++) {
        const share = factor * shares[VALUES * n + k];
        if (!share) continue;
        const to = (k * movies + movie) * hidden;
        sums.visible[k * movies + movie] -= share;
        for (let h = 0; h < hidden; h++) sums.kernel[to + h] -= share * units[h];
      }
      for (let h = 0; h < hidden; h++) sums.rated[movie * hidden + h] -= factor * units[h];
    });
    for (let h = 0; h < hidden; h++) sums.biases[h] -= factor * units[h];
  };
  for (const list of users) {
    const data = given(list), before = hiddenOf(params, list, data);
    const drawn = random ? before.map((p) => (random() < p ? 1 : 0)) : before;
    const shares = new Float64Array(data.length);
    list.forEach(([movie], n) => {
      const chances = valuesOf(params, movie, drawn);
      if (!random) return shares.set(chances, VALUES * n);
      let sum = 0, k = 0;
      const chance = random();
      while (k < VALUES - 1 && (sum += chances[k]) <= chance) k++;
      shares[VALUES * n + k] = 1;
    });
    add(list, data, before, 1 / users.length);
    add(list, shares, hiddenOf(params, list, shares), -1 / users.length);
  }
  return sums;
}

// The first visible biases: log frequencies of the values, smoothed by those of all movies.
export function begin(params, users, prior = 20) {
  const { movies } = params, counts = new Float64Array(VALUES * movies), all = new Float64Array(VALUES);
  for (const list of users) for (const [movie, rating] of list) counts[(rating - 1) * movies + movie]++, all[rating - 1]++;
  const total = all.reduce((a, b) => a + b, 0) || 1;
  for (let movie = 0; movie < movies; movie++) {
    for (let k = 0; k < VALUES; k++) {
      params.visible[k * movies + movie] = Math.log(counts[k * movies + movie] + (prior * (all[k] + 1)) / (total + VALUES));
    }
  }
}

// A pass over all users; `velocity` is kept from pass to pass.
export function epoch(params, users, velocity, random, { rate, momentum = 0.9, decay = 0.01, batch = 25 }) {
  const order = users.map((_, n) => n);
  for (let n = order.length - 1; n > 0; n--) {
    const other = Math.floor(random() * (n + 1));
    [order[n], order[other]] = [order[other], order[n]];
  }
  for (let from = 0; from < order.length; from += batch) {
    const found = gradient(params, order.slice(from, from + batch).map((n) => users[n]), random);
    for (const [name, slope] of Object.entries(found)) {
      const moving = (velocity[name] ??= new Float64Array(slope.length)), values = params[name];
      const shrink = name === "kernel" || name === "rated" ? decay : 0;
      for (let i = 0; i < slope.length; i++) {
        moving[i] = momentum * moving[i] - rate * (slope[i] + shrink * values[i]);
        values[i] += moving[i];
      }
    }
  }
}
