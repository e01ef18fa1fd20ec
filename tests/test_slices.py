"""Slices of a function of latent codes: the plane holds its three codes, and the pictures are the function's own."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from helpers.show import figures, slices


def test_the_plane_goes_through_its_three_codes():
    a, b, c = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    axes, corners = slices.plane_through(a, b, c)
    torch.testing.assert_close(axes @ axes.T, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(a + corners @ axes, torch.stack([a, b, c]))
    assert corners[0].tolist() == [0, 0] and corners[1, 0] > 0 and corners[1, 1].abs() < 1e-12 < corners[2, 1]


def test_the_grid_holds_the_codes_with_a_margin():
    corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [-1.0, 5.0]])
    u, v = slices.plane_grid(corners)
    assert len(u) == len(v) == slices.POINTS
    assert (u[0].item(), u[-1].item()) == pytest.approx((-1.9, 2.9))
    assert (v[0].item(), v[-1].item()) == pytest.approx((-1.5, 6.5))


def test_the_contours_are_those_of_the_function_and_the_codes_are_named():
    fig, (ax,) = figures.panels()
    codes = torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    asked = []

    def f(z):
        asked.append(z)
        return 1 + z.square().sum(1)

    slices.plane(ax, f, codes, "ABC")
    points = torch.cat(asked)
    assert len(points) == slices.POINTS**2 and torch.allclose(points[:, 2], torch.ones(1))
    assert [text.get_text() for text in ax.texts] == ["A", "B", "C"]
    dots = [line.get_xydata() for line in ax.get_lines()[1:]]
    assert np.allclose(np.concatenate(dots), [[0, 0], [3, 0], [0, 2]])
    plt.close(fig)


@pytest.mark.parametrize("codes", [torch.eye(3), torch.ones(3, 3)])
def test_a_constant_function_has_a_picture_too_and_so_have_equal_codes(codes):
    fig, (ax,) = figures.panels()
    slices.plane(ax, lambda z: torch.full((len(z),), 7.0), codes, "ABC")
    fig.draw_without_rendering()
    plt.close(fig)


def test_images_stand_above_the_places_of_a_line_where_they_are():
    fig, (ax,) = figures.panels()
    values = torch.tensor([1.0, 4.0, 2.0])
    slices.along(ax, values, torch.zeros(5, 2, 28, 28), ("A", "B"))
    fig.draw_without_rendering()
    assert np.array_equal(ax.get_lines()[0].get_xydata(), [[0, 1], [0.5, 4], [1, 2]])
    boxes = [picture.get_window_extent() for picture in ax.child_axes]
    middles = ax.transData.inverted().transform([((box.x0 + box.x1) / 2, box.y0) for box in boxes])
    assert middles[:, 0] == pytest.approx([0, 0.25, 0.5, 0.75, 1]) and (middles[:, 1] > 4).all()
    assert [text.get_text() for text in ax.get_xticklabels()] == ["A", "halfway", "B"]
    plt.close(fig)


def test_the_bar_s_numbers_are_round_and_within_its_range():
    assert slices._round_levels(0.9, 260) == [1, 2, 5, 10, 20, 50, 100, 200]
