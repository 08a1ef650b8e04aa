import json

import PIL.Image

from studies import ch08_vae

STUDY = ("ch08_vae", "sweep-latents")
SMALL = ("--data", "sample", "--device", "cpu")


def study(command, *arguments):
    done = command("ch08_vae", *arguments, *SMALL, package="studies")
    assert done.status == 0, done.err
    return done.out


def test_a_sweep_goes_on_where_it_was(command, place):
    line = ("sweep-latents", 2, "--hidden", 8, "--epochs", 1, "--out", place / "sweep")
    study(command, *line)
    first = json.loads((place / "sweep" / "sweep.json").read_text())
    assert [(r["latents"], r["seed"]) for r in first] == [(2, 0)]
    (place / "sweep" / "sweep.png").unlink()
    assert study(command, *line).count("trained already") == 1
    assert json.loads((place / "sweep" / "sweep.json").read_text()) == first
    assert {p.name for p in (place / "sweep").glob("*.png")} == {"sweep.png", "digits.png"}


def test_a_sweep_of_nothing_is_refused(command):
    done = command("ch08_vae", "sweep-latents", "--seeds", 0, package="studies")
    assert done.status == 1
    assert "say for example 2 5 8 20" in done.err


def test_the_chapters_figures_and_the_animation(command, place):
    study(command, "chapter-figures", "--epochs", 2, "--out", place / "chapter")
    for name in ("reconstructions.png", "manifold.png", "codes.png", "manifold.gif"):
        assert (place / "chapter" / name).stat().st_size > 2_000
    with PIL.Image.open(place / "chapter" / "manifold.gif") as animation:
        assert animation.n_frames == 2
    kept = sorted(p.stem for p in (place / "chapter" / "plain" / "pictures").glob("*.npy"))
    assert kept == [f"{epoch:04d}" for epoch in (1, 2)]


def test_latent_sizes_are_means_over_seeds_with_their_range():
    results = [
        {"latents": size, "elbo": -100.0 + size + seed, "reconstruction": 1.0, "kl": 2.0}
        for size in (2, 20)
        for seed in (0, 2)
    ]
    axes = ch08_vae.latent_sizes(results).axes[0]
    assert [t.get_text() for t in axes.texts] == ["-97.0", "-79.0"]
    low, high = axes.collections[0].get_segments()[0][:, 1]
    assert (low, high) == (-98.0, -96.0)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["2", "20"]
