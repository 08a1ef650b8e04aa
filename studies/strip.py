"""The picture at the top of the README: one picture of each of several chapters, side by side.

`python -m studies.strip` writes docs/zoo.png from the pictures in `docs/`.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops

DOCS = Path(__file__).parent.parent / "docs"
ROWS = (
    (
        *("ch01_graphs/affine-grad.png", "ch08_vae/manifold.png", "ch07_dqn/path.png"),
        *("ch03_mnist_ae_rbm/autoencoder-denoising.png",),
    ),
    (
        *("ch06_cnn/filters.png", "ch05_lstm/gradients.png", "ch02_basic_nn/parabola.png"),
        *("ch07_dqn/values.png",),
    ),
)
WIDTH, GAP = 1600, 24  # pixels


def trimmed(picture: Image.Image) -> Image.Image:
    """A picture without its white margins."""
    white = Image.new("RGB", picture.size, "white")
    return picture.crop(ImageChops.difference(picture, white).getbbox())


def row(pictures: Sequence[Image.Image], width: int = WIDTH, gap: int = GAP) -> Image.Image:
    """Pictures side by side, scaled to one height at which they fill the width."""
    shapes = sum(picture.width / picture.height for picture in pictures)
    height = round((width - gap * (len(pictures) - 1)) / shapes)
    made, left = Image.new("RGB", (width, height), "white"), 0
    for picture in pictures:
        scaled = picture.resize((round(height * picture.width / picture.height), height))
        made.paste(scaled, (left, 0))
        left += scaled.width + gap
    return made


def main() -> None:
    """Writes docs/zoo.png."""
    rows = [row([trimmed(Image.open(DOCS / p).convert("RGB")) for p in names]) for names in ROWS]
    height = sum(one.height for one in rows) + GAP * (len(rows) - 1)
    whole, top = Image.new("RGB", (WIDTH, height), "white"), 0
    for one in rows:
        whole.paste(one, (0, top))
        top += one.height + GAP
    whole.quantize(128).save(DOCS / "zoo.png", optimize=True)
    print(DOCS / "zoo.png")


if __name__ == "__main__":
    main()
