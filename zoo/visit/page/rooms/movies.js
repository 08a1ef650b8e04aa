// A Boltzmann machine learns tastes in the page, from the built-in sample or the visitor's ratings.
import { begin, create, epoch, expected } from "../rbm.js";
import { bytes, button, el, random, unique } from "../ui.js";

const HIDDEN = 40, EPOCHS = 30, SHOWN = 8, HELD = 10;

// Ratings as MovieLens has them: u.data (tabs), ratings.dat (::) or ratings.csv (commas).
export function readRatings(text) {
  return text.split(/\r?\n/).map((line) => line.split(/\t|::|,/).slice(0, 3).map(Number))
    .filter((row) => row.length === 3 && row.every(Number.isFinite) && row[2] >= 1 && row[2] <= 5)
    .map(([user, movie, rating]) => [user, movie, Math.round(rating)]);
}

// Titles by movie: u.item (|), movies.dat (::) or movies.csv (commas).
export function readTitles(text) {
  const rows = text.split(/\r?\n/).map((line) => line.match(/^(\d+)(?:\||::|,)("(?:[^"]|"")*"|.*?)(?:\||::|,|$)/));
  return new Map(rows.filter(Boolean).map(([, id, title]) => [Number(id), title.replace(/^"|"$/g, "").replaceAll('""', '"')]));
}

export async function mount(stage, { data }) {
  let titles, users, tested, movies, numbers, params, velocity, passes, training = false;
  const likes = new Map(), rates = random(5);
  const said = el("p", { class: "message plain", "aria-live": "polite" });
  const list = el("ol", { class: "movies" }), found = el("ol", { class: "found", "aria-label": "Recommended" });
  const search = el("input", { type: "search", id: unique("search"), placeholder: "title or genre" });

  const start = (triples, named) => {
    titles = named;
    movies = [...new Set(triples.map(([, movie]) => movie))].sort((a, b) => a - b);
    numbers = new Map(movies.map((movie, n) => [movie, n]));
    const lists = new Map();
    tested = [];
    triples.forEach(([user, movie, rating], n) => {
      const row = [numbers.get(movie), rating];
      if (!lists.has(user)) lists.set(user, []);
      if (n % HELD === HELD - 1) tested.push([user, ...row]);
      else lists.get(user).push(row);
    });
    users = [...lists.values()].filter((rows) => rows.length);
    tested = tested.map(([user, movie, rating]) => [lists.get(user), movie, rating]).filter(([rows]) => rows.length).slice(0, 2000);
    params = create(movies.length, HIDDEN, rates);
    begin(params, users);
    velocity = {};
    passes = 0;
    likes.clear();
    showMovies();
    report();
  };
  const error = () => {
    const known = new Map();
    let sum = 0;
    for (const [rows, movie, rating] of tested) {
      if (!known.has(rows)) known.set(rows, expected(params, rows));
      sum += (known.get(rows)[movie] - rating) ** 2;
    }
    return Math.sqrt(sum / Math.max(tested.length, 1));
  };
  const report = () => {
    const state = passes ? `After ${passes} passes` : "Before training";
    said.textContent = `${users.length.toLocaleString("en")} people, ${movies.length.toLocaleString("en")} movies. ${state} it misses a rating that it has not seen by ${error().toFixed(3)} stars.`;
    recommend();
  };
  const recommend = () => {
    const given = [...likes].map(([movie, rating]) => [numbers.get(movie), rating]);
    const scores = expected(params, given);
    const order = movies.filter((movie) => !likes.has(movie)).sort((a, b) => scores[numbers.get(b)] - scores[numbers.get(a)]);
    found.replaceChildren(...order.slice(0, SHOWN).map((movie) =>
      el("li", {}, el("span", {}, titles.get(movie) ?? `movie ${movie}`), el("b", {}, `${scores[numbers.get(movie)].toFixed(2)} ★`))));
  };
  const showMovies = () => {
    const wanted = search.value.toLowerCase();
    const chosen = movies.filter((movie) => (titles.get(movie) ?? `movie ${movie}`).toLowerCase().includes(wanted)).slice(0, 40);
    list.replaceChildren(...chosen.map((movie) => {
      const title = titles.get(movie) ?? `movie ${movie}`, id = unique("movie");
      const select = el("select", { id }, el("option", { value: "" }, "not seen"),
        ...[5, 4, 3, 2, 1].map((n) => el("option", { value: String(n) }, "★".repeat(n))));
      select.value = likes.get(movie) ?? "";
      select.addEventListener("change", () => {
        if (select.value) likes.set(movie, Number(select.value));
        else likes.delete(movie);
        recommend();
      });
      return el("li", {}, el("label", { for: id }, title), select);
    }));
  };
  search.addEventListener("input", showMovies);

  const train = button("Train", async () => {
    if (training) return void (training = false);
    training = true;
    train.textContent = "Stop";
    for (let n = 0; n < EPOCHS && training && stage.isConnected; n++) {
      epoch(params, users, velocity, rates, { rate: 0.05 * (1 - (0.9 * n) / EPOCHS) });
      passes++;
      report();
      await new Promise(requestAnimationFrame);
    }
    training = false;
    train.textContent = "Train on";
  }, { class: "primary" });
  const sample = () => {
    const packed = bytes(data.movies.ratings), numbers16 = new Uint16Array(packed.buffer), triples = [];
    for (let i = 0; i < numbers16.length; i += 3) triples.push([...numbers16.subarray(i, i + 3)]);
    start(triples, new Map(data.movies.titles.map(([movie, title, ...genres]) =>
      [movie, `${title.replace(/ \(\d+\)$/, "")} · ${genres.join(", ")}`])));
  };
  const id = unique("files"), file = el("input", { type: "file", id, multiple: true, class: "hidden" });
  file.addEventListener("change", async () => {
    let triples = [], named = new Map();
    for (const one of file.files) {
      // MovieLens' titles are in Latin-1.
      const content = await one.arrayBuffer();
      let text;
      try {
        text = new TextDecoder("utf-8", { fatal: true }).decode(content);
      } catch {
        text = new TextDecoder("latin1").decode(content);
      }
      if (/item|movie|title/i.test(one.name)) named = readTitles(text);
      else triples = readRatings(text);
    }
    if (triples.length < 100) said.textContent = "That has fewer than 100 lines of user, movie and rating: choose u.data and u.item of MovieLens.";
    else start(triples, named);
  });
  stage.append(
    el("div", { class: "column" },
      el("div", { class: "controls" }, train, button("Start again", sample)), said,
      el("p", { class: "small" }, "MovieLens may not be passed on, so the movies here are made up, with tastes that depend on genre. ",
        el("label", { for: id, class: "link" }, "Open your copy"), " of u.data and u.item (or ratings and movies, .dat or .csv): it is read and learnt in this page.", file)),
    el("div", { class: "column" }, el("label", { for: search.id }, "Rate what you like"), search, list),
    el("div", { class: "column" }, el("h3", {}, "Recommended to you"), found),
  );
  sample();
  likes.set(movies[0], 5);
  showMovies();
  recommend();
}
