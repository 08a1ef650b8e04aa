"""Chapter 10's network behind LitServe: python -m benchmarks.ch10_litserve FOLDER PORT.

The same batches as zoo's own server: up to 32, and 2 ms for the first one to wait. LitServe starts
its worker by importing this module, so it stands by itself.
"""

import base64
import io
import sys

import litserve
import numpy as np
import PIL.Image

from zoo.ch10_deploy import export


class Api(litserve.LitAPI):
    """Pictures as base64 in JSON to the probabilities of the classes."""

    def __init__(self, folder: str):
        super().__init__(max_batch_size=32, batch_timeout=0.002, api_path="/v1/predict")
        self.folder = folder

    def setup(self, device: str) -> None:
        """Loads the model and compiles the sizes that batches are padded to."""
        self.model = export.load(self.folder)
        self.name = next(iter(self.model.predictions))
        for size in (1, 2, 4, 8, 16, 32):
            self.model.predict(self.name, {"image": np.zeros((size, 32, 32, 3), np.uint8)})

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        """One picture."""
        file = io.BytesIO(base64.b64decode(request["image"]))
        return np.asarray(PIL.Image.open(file).convert("RGB"))

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Several."""
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The probabilities of a batch."""
        return self.model.predict(self.name, {"image": x})["probabilities"]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """One by one."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, float]:
        """An answer."""
        return dict(zip(self.model.classes, output.tolist(), strict=True))


if __name__ == "__main__":
    server = litserve.LitServer(Api(sys.argv[1]), accelerator="cpu")
    where = {"host": "127.0.0.1", "port": int(sys.argv[2])}
    server.run(**where, num_api_servers=1, generate_client_file=False, log_level="error")
