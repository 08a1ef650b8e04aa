"""What the Boltzmann machine is measured against (chapter 3): short NumPy baselines.

Those for ratings take a matrix of ratings, uint8 [U, M] with 0 where there is none, and predict
each of them, float [U, M]. Those for ranking take what was seen, [U, M] of 0 and 1, and score each
movie. Axes: U users, M movies.
"""

import numpy as np


def global_mean(rating: np.ndarray) -> np.ndarray:
    """The mean of all ratings, for everyone."""
    return np.full(rating.shape, rating[rating > 0].mean())


def user_mean(rating: np.ndarray) -> np.ndarray:
    """Each user's mean; the mean of all for a user without ratings."""
    counts = (rating > 0).sum(1)
    means = rating.sum(1) / np.maximum(counts, 1)
    mean = rating[rating > 0].mean()
    return np.broadcast_to(np.where(counts, means, mean)[:, None], rating.shape)


def item_mean(rating: np.ndarray) -> np.ndarray:
    """Each movie's mean; the mean of all for a movie without ratings."""
    return user_mean(rating.T).T


def newcomers(known: np.ndarray, given: np.ndarray, damping: float = 5.0) -> dict[str, np.ndarray]:
    """Means for people who are not in `known` [U, M], of whom `given` [N, M] is known.

    Each movie's mean, damped by so many ratings of the overall mean; and with it the person's mean
    deviation from it, damped alike.
    """
    counts, mean = (known > 0).sum(0), known[known > 0].mean()
    movie = (known.sum(0) + damping * mean) / (counts + damping)
    deviation = np.where(given > 0, given - movie, 0).sum(1) / ((given > 0).sum(1) + damping)
    return {
        "movie's mean": np.broadcast_to(movie, given.shape),
        "movie's mean, moved by the person's": movie + deviation[:, None],
    }


def matrix_factorisation(
    rating: np.ndarray,
    factors: int = 10,
    penalty: float = 0.1,
    sweeps: int = 20,
    seed: int = 0,
) -> np.ndarray:
    """Ratings as mean + b_u + b_i + p_u . q_i, by alternating least squares (Zhou et al. 2008).

    Args:
      rating: [U, M].
      factors: length of p and q; 0 leaves the biases.
      penalty: on the squares of all four, times the number of the user's or movie's ratings.
      sweeps: how often both sides are solved for.
      seed: of the first q.
    """
    known = (rating > 0).astype(np.float64)
    mean = rating[rating > 0].mean()
    residual = known * (rating - mean)
    movie_bias = np.zeros(rating.shape[1])
    movie = np.random.default_rng(seed).normal(0, 0.1, (rating.shape[1], factors))
    for _ in range(sweeps):
        user_bias, user = _regress(residual - known * movie_bias, known, movie, penalty)
        given = (residual - known * user_bias[:, None]).T
        movie_bias, movie = _regress(given, known.T, user, penalty)
    return mean + user_bias[:, None] + movie_bias + user @ movie.T


def _regress(target, known, features, penalty) -> tuple[np.ndarray, np.ndarray]:
    """Each row's ridge regression of its known targets on 1 and the columns' features."""
    x = np.column_stack([np.ones(len(features)), features])
    width = x.shape[1]
    products = (x[:, :, None] * x[:, None]).reshape(len(x), -1)
    gram = (known @ products).reshape(-1, width, width)
    counts = np.maximum(known.sum(1), 1)  # a row that knows nothing gets zeros
    gram += penalty * counts[:, None, None] * np.eye(width)
    solved = np.linalg.solve(gram, (target @ x)[:, :, None])[:, :, 0]
    return solved[:, 0], solved[:, 1:]


def popularity(seen: np.ndarray) -> np.ndarray:
    """How many users saw the movie."""
    return np.broadcast_to(seen.sum(0, dtype=np.float64), seen.shape)


def item_knn(seen: np.ndarray, neighbours: int = 100) -> np.ndarray:
    """The sum of a movie's cosine similarities to those seen that are among its `neighbours`."""
    x = seen.astype(np.float32)
    norms = np.sqrt(x.sum(0))
    x /= np.maximum(norms, 1.0)
    similarity = x.T @ x
    np.fill_diagonal(similarity, 0.0)
    if neighbours < len(similarity):
        least = np.partition(similarity, -neighbours, axis=0)[-neighbours]
        similarity[similarity < least] = 0.0
    return seen.astype(np.float32) @ similarity


def ease(seen: np.ndarray, penalty: float = 500.0) -> np.ndarray:
    """The linear autoencoder with an empty diagonal, in closed form (Steck 2019).

    B = I - P diag(1 / P) with P = (X^T X + penalty I)^-1; the scores are X B.
    """
    x = seen.astype(np.float32)
    gram = (x.T @ x).astype(np.float64)  # whole numbers, exact in float32 up to 2^24
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return x @ weights.astype(np.float32)
