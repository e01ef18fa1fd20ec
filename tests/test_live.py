"""Rows of images that grow while a cell runs, and the diagram of path-aware training."""

import matplotlib.pyplot as plt
import pytest
import torch

from helpers.show import live
from helpers.show.training_diagram import training_diagram


def test_each_row_is_shown_at_once_and_kept(monkeypatch):
    shown = []

    class Place:
        def update(self, picture):
            shown.append(picture)

    monkeypatch.setattr(live, "display", lambda picture, display_id: shown.append(picture) or Place())
    rows, before = live.Rows(), plt.get_fignums()
    for step in range(3):
        rows.add(f"step {step}", torch.full((4, 1, 28, 28), float(step), requires_grad=True))
    assert len(shown) == 3 and len({picture.data for picture in shown}) == 3
    assert rows.names == ["step 0", "step 1", "step 2"]
    assert rows.all().shape == (12, 1, 28, 28) and not rows.all().requires_grad
    assert plt.get_fignums() == before, "its figures are closed"


def test_the_diagram_names_networks_and_losses_and_draws_each_image():
    fig, ax = plt.subplots(figsize=(6.3, 2.1))
    image = torch.zeros(1, 28, 28)
    training_diagram(ax, torch.zeros(2, 1, 28, 28), image, image, image)
    words = " ".join(text.get_text() for text in ax.texts)
    assert all(name in words for name in ("$G$", "$F$", "$L_{gen}$", "$L_{inv}$", "$L_{path}$"))
    assert len(ax.images) == 6, "three images on the left, three on the right"
    fig.draw_without_rendering()
    right = max(text.get_window_extent().x1 for text in ax.texts)
    assert right <= fig.bbox.width == pytest.approx(630)
    plt.close(fig)
