"""The scores of generators against cases whose values are known."""

import math

import pytest
import torch

from helpers import metrics


def test_distance_of_a_set_to_itself_and_to_a_shifted_one():
    features = torch.randn(4000, 64)
    shifted = metrics.frechet_distance(features + 2 / 8, features)
    assert metrics.frechet_distance(features, features) == pytest.approx(0, abs=1e-3)
    assert shifted == pytest.approx(64 * (2 / 8) ** 2, rel=1e-2)  # equal covariances: ‖μ₁ − μ₂‖²


def test_class_divergence():
    even, one = torch.arange(1000) % 10, torch.zeros(1000, dtype=torch.int64)
    assert metrics.class_divergence(even, even) == 0
    assert metrics.class_divergence(one, even) == pytest.approx(math.log(10))


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    features = torch.randn(3000, 64)
    assert abs(metrics.kernel_distance(torch.randn(3000, 64), features)) < 1
    assert metrics.kernel_distance(features + 0.2, features) > 5


def test_neighbour_scores_of_two_samples_of_one_law():
    found = metrics.neighbour_scores(torch.randn(3000, 4), torch.randn(3000, 4))
    assert found["density"] == pytest.approx(1, abs=0.05)  # a fake lies in k of the real balls on average
    assert found["coverage"] == pytest.approx(1 - 0.5**5, abs=0.02)  # Naeem et al. 2020, section 3.2
    assert found["precision"] == pytest.approx(found["recall"], abs=0.03)


def test_neighbour_scores_see_a_lost_mode_and_a_far_fake():
    real = torch.cat([torch.randn(500, 4), torch.randn(500, 4) + 50])
    one_mode, far = torch.randn(1000, 4), torch.randn(1000, 4) + 500
    lost = metrics.neighbour_scores(one_mode, real)
    assert lost["precision"] > 0.9 and lost["recall"] < 0.51 and lost["coverage"] < 0.51
    assert set(metrics.neighbour_scores(far, real).values()) == {0.0}


def test_neighbour_scores_in_the_line_by_hand():
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [2.5], [9.0]])
    # k = 1: the real balls have radii 1, 1, 2 and the fake ones 2, 2, 6.5
    assert metrics.neighbour_scores(fake, real, k=1) == pytest.approx(
        {"precision": 2 / 3, "recall": 1.0, "density": 3 / 3, "coverage": 1.0}
    )


def test_neighbour_scores_need_neighbours():
    with pytest.raises(ValueError, match="more than k = 5"):
        metrics.neighbour_scores(torch.zeros(5, 2), torch.zeros(9, 2))
