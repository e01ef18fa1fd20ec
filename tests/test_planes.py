"""A plane of latent space as it is drawn: curves where the paths are, a dot for each image, names below."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from helpers.show import figures, planes


@pytest.fixture
def routes() -> list[planes.Route]:
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    bow = line + torch.tensor([0.0, 0.5]) * torch.tensor([0, 1, 2, 1, 0])[:, None]
    images = torch.rand(3, 1, 28, 28)
    return [planes.Route("line", line, images, "#000000"), planes.Route("bow", bow, images, "#0072B2", outside=True)]


def draw(routes: list[planes.Route], cost: torch.Tensor) -> plt.Figure:
    across, up = torch.linspace(-1, 5, 7), torch.linspace(-1, 2, 4)
    return planes.draw(across, up, cost, routes, torch.rand(2, 1, 28, 28))


def test_each_path_is_a_curve_with_a_dot_at_each_image(routes: list[planes.Route]) -> None:
    fig = draw(routes, torch.rand(4, 7))
    curves = fig.axes[0].get_lines()
    for route, curve, dots in zip(routes, curves[::2], curves[1::2], strict=True):
        assert np.allclose(curve.get_xydata(), route.points)
        assert np.allclose(dots.get_xydata(), route.points[::2])
        assert curve.get_linestyle() == ("--" if route.outside else "-")


def test_rows_of_images_have_the_names_and_colours_of_their_paths(routes: list[planes.Route]) -> None:
    strips = draw(routes, torch.rand(4, 7)).axes[1]
    assert [text.get_text() for text in strips.texts][:2] == ["line", "bow"]
    assert [text.get_color() for text in strips.texts][:2] == [figures.for_text(route.colour) for route in routes]


def test_the_end_images_stand_above_the_ends_and_within_the_plane(routes: list[planes.Route]) -> None:
    plane = draw(routes, torch.rand(4, 7)).axes[0]
    places = [picture.get_extent() for picture in plane.get_images()]
    assert [(left + right) / 2 for left, right, _, _ in places] == pytest.approx([0, 4])
    assert [place[3] for place in places] == pytest.approx([2, 2])
    assert plane.get_xlim() == pytest.approx((-1, 5)) and plane.get_ylim() == pytest.approx((-1, 2))


def test_a_cost_that_is_the_same_everywhere_can_be_drawn(routes: list[planes.Route]) -> None:
    plane = draw(routes, torch.ones(4, 7)).axes[0]
    assert len(plane.collections) == 2, "shades and lines"


def test_it_can_be_saved_twice_with_the_style_of_all_figures(routes: list[planes.Route], tmp_path, recwarn) -> None:
    with mpl.rc_context():
        figures.use_style()
        fig = draw(routes, torch.rand(4, 7))
        before = [ax.get_position().bounds for ax in fig.axes]
        for name in ("a.png", "a.pdf"):
            fig.savefig(tmp_path / name)
    assert not recwarn.list and [ax.get_position().bounds for ax in fig.axes] == before
