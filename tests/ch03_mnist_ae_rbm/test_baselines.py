import numpy as np

from zoo.ch03_mnist_ae_rbm import baselines

RATING = np.array([[5, 3, 0, 0], [4, 0, 2, 0], [0, 0, 0, 0]], np.uint8)


def test_means_are_over_what_is_rated():
    np.testing.assert_allclose(baselines.global_mean(RATING), np.full((3, 4), 3.5))
    np.testing.assert_allclose(baselines.user_mean(RATING)[:, 0], [4, 3, 3.5])
    np.testing.assert_allclose(baselines.item_mean(RATING)[0], [4.5, 3, 2, 3.5])


def test_matrix_factorisation_finds_the_factors_of_a_matrix_without_noise():
    rng = np.random.default_rng(0)
    true = rng.normal(3, 0.3, (40, 1)) + rng.normal(0, 0.3, 30)
    true = true + rng.normal(0, 0.5, (40, 2)) @ rng.normal(0, 0.5, (30, 2)).T
    known = rng.random((40, 30)) < 0.6
    predicted = baselines.matrix_factorisation(
        np.where(known, true, 0), factors=2, penalty=1e-4, sweeps=100
    )
    error = np.sqrt(((predicted - true)[~known] ** 2).mean())
    biases = baselines.matrix_factorisation(np.where(known, true, 0), 0, 1e-4, 30)
    assert error < 0.05 < np.sqrt(((biases - true)[~known] ** 2).mean())


def test_each_side_of_the_factorisation_is_the_least_squares_solution():
    rng = np.random.default_rng(1)
    known = (rng.random((3, 8)) < 0.7).astype(float)
    target, features = known * rng.normal(size=(3, 8)), rng.normal(size=(8, 2))
    bias, factors = baselines._regress(target, known, features, 0.3)
    for row in range(3):
        some = known[row] > 0
        x = np.column_stack([np.ones(some.sum()), features[some]])
        ridge = np.sqrt(0.3 * some.sum()) * np.eye(3)
        solved = np.linalg.lstsq(
            np.vstack([x, ridge]), np.append(target[row, some], np.zeros(3)), rcond=None
        )[0]
        np.testing.assert_allclose(np.append(bias[row], factors[row]), solved, rtol=1e-6)


SEEN = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 1, 0, 1]], np.uint8)


def test_popularity_counts_users():
    np.testing.assert_array_equal(baselines.popularity(SEEN)[2], [3, 3, 2, 1])


def test_item_knn_sums_cosines_of_the_films_seen():
    scores = baselines.item_knn(SEEN, neighbours=4)
    cosine = np.zeros((4, 4))
    for a in range(4):
        for b in range(4):
            if a != b:
                both = (SEEN[:, a] * SEEN[:, b]).sum()
                cosine[a, b] = both / np.sqrt(SEEN[:, a].sum() * SEEN[:, b].sum())
    np.testing.assert_allclose(scores, SEEN @ cosine, rtol=1e-5, atol=1e-6)
    nearest = baselines.item_knn(SEEN, neighbours=1)
    kept = np.where(cosine == cosine.max(0), cosine, 0)
    np.testing.assert_allclose(nearest, SEEN @ kept, rtol=1e-5, atol=1e-6)


def test_ease_is_the_ridge_regression_of_each_film_on_the_others():
    rng = np.random.default_rng(2)
    x = (rng.random((50, 6)) < 0.4).astype(np.uint8)
    scores = baselines.ease(x, penalty=3.0)
    for film in range(6):
        others = np.delete(x, film, axis=1).astype(float)
        gram = others.T @ others + 3.0 * np.eye(5)
        expected = others @ np.linalg.solve(gram, others.T @ x[:, film])
        np.testing.assert_allclose(scores[:, film], expected, rtol=1e-4, atol=1e-5)
