"""Pictures that grow while a cell of a notebook runs."""

import io

import matplotlib.pyplot as plt
import torch
from IPython.display import Image, display
from torch import Tensor

from helpers.show import figures


class Rows:
    """Rows of images that a running cell adds one by one; JupyterLab shows all that there are so far.

        rows = Rows()
        for step in range(600):
            ...
            rows.add(f"step {step}", G(z))

    `names` and `images` hold what was added: a text and images (N, 1, 28, 28) in [−1, 1] for each row.
    """

    def __init__(self):
        self.names: list[str] = []
        self.images: list[Tensor] = []
        self.place = None

    def add(self, name: str, images: Tensor) -> None:
        """Add one row and show all rows; every row has as many images as the first."""
        self.names.append(name)
        self.images.append(images.detach().cpu())
        if self.place is None:
            self.place = display(self._picture(), display_id=True)
        else:
            self.place.update(self._picture())

    def all(self) -> Tensor:
        """The images of all rows, one after the other: (rows × N, 1, 28, 28)."""
        return torch.cat(self.images)

    def _picture(self) -> Image:
        fig, (ax,) = figures.panels(height=0.36 * len(self.names))
        figures.digits(ax, self.all(), columns=len(self.images[0]), row_names=self.names)
        png = io.BytesIO()
        fig.savefig(png, format="png", dpi=110)
        plt.close(fig)
        return Image(png.getvalue())
