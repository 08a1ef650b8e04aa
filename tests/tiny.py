"""What makes each model tiny, for tests that compute with every one of them."""

DQN = {"rows": 2, "columns": 3, "epoch_steps": 12, "target_every": 6, "capacity": 20, "limit": 5}
TINY = {
    "ch02_basic_nn": {"steps": 2},
    "ch03_mnist_ae_rbm": {"hidden": (8, 8), "epochs": 1, "batch_size": 4},
    "ch03_mnist_ae_rbm/autoencoder": {"hidden": (8,), "code": 4, "epochs": 1, "batch_size": 4},
    "ch03_mnist_ae_rbm/rbm": {"visible": 12, "hidden": 5, "steps": (2,), "batch_size": 4}
    | {"epochs": 1},
    "ch05_lstm": {"hidden": 8, "embedding": 4, "chunk": 6, "epochs": 1, "batch_size": 4},
    "ch06_cnn": {"filters": (4, 4, 4), "hidden": 8, "epochs": 1, "batch_size": 4},
    "ch06_cnn/speedrun": {"width": 2, "epochs": 2, "batch_size": 8, "shift": 1}
    | {"precision": "float32"},
    "ch07_dqn": DQN | {"epochs": 1, "batch_size": 4, "hidden": (8,), "epsilon_decay": 0.5},
    "ch07_dqn/planner": {"rows": 4, "columns": 4, "walkers": 2, "capacity": 8, "batch_size": 2}
    | {"rounds": 3, "epoch_steps": 3, "target_every": 2, "walk_steps": 3, "epochs": 1},
    "ch08_vae": {"hidden": (8,), "latents": 3, "epochs": 1, "batch_size": 4},
    "ch08_vae/conv": {"filters": (4, 4, 4), "latents": 3, "epochs": 1, "batch_size": 4}
    | {"hidden": (8,)},
}
"""What makes a model tiny, and where a field could not count otherwise."""
