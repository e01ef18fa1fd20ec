"""The scores of generators against cases whose values are known, and the classifier in whose features they are."""

import math

import pytest
import torch

from helpers import evaluation, store

TINY = evaluation.ClassifierConfig(epochs=1, images=12_800, channels=4)


def test_distance_of_a_set_to_itself_and_to_a_shifted_one():
    features = torch.randn(4000, 64)
    shifted = evaluation.frechet_distance(features + 2 / 8, features)
    assert evaluation.frechet_distance(features, features) == pytest.approx(0, abs=1e-3)
    assert shifted == pytest.approx(64 * (2 / 8) ** 2, rel=1e-2)  # equal covariances: ‖μ₁ − μ₂‖²


def test_class_divergence():
    even, one = torch.arange(1000) % 10, torch.zeros(1000, dtype=torch.int64)
    assert evaluation.class_divergence(even, even) == 0
    assert evaluation.class_divergence(one, even) == pytest.approx(math.log(10))
    assert evaluation.class_divergence(torch.tensor([9]), torch.tensor([1, 2])) == math.inf
    assert evaluation.class_divergence(torch.tensor([1]), torch.tensor([1, 2])) == pytest.approx(math.log(2))


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    features = torch.randn(3000, 64)
    assert abs(evaluation.kernel_distance(torch.randn(3000, 64), features)) < 1
    assert evaluation.kernel_distance(features + 0.2, features) > 5


def test_neighbour_scores_of_two_samples_of_one_distribution():
    found = evaluation.neighbour_scores(torch.randn(3000, 4), torch.randn(3000, 4))
    assert found["density"] == pytest.approx(1, abs=0.05)  # a fake lies in k of the real balls on average
    assert found["coverage"] == pytest.approx(1 - 0.5**5, abs=0.02)  # Naeem et al. 2020, section 3.2
    assert found["precision"] == pytest.approx(found["recall"], abs=0.03)


def test_neighbour_scores_see_a_lost_mode_and_a_far_fake():
    real = torch.cat([torch.randn(500, 4), torch.randn(500, 4) + 50])
    one_mode, far = torch.randn(1000, 4), torch.randn(1000, 4) + 500
    lost = evaluation.neighbour_scores(one_mode, real)
    assert lost["precision"] > 0.9 and lost["recall"] < 0.51 and lost["coverage"] < 0.51
    assert set(evaluation.neighbour_scores(far, real).values()) == {0.0}


def test_neighbour_scores_in_the_line_by_hand():
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [2.5], [9.0]])
    # k = 1: the real balls have radii 1, 1, 2 and the fake ones 2, 2, 6.5
    assert evaluation.neighbour_scores(fake, real, k=1) == pytest.approx(
        {"precision": 2 / 3, "recall": 1.0, "density": 3 / 3, "coverage": 1.0}
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS", str(tmp_path_factory.mktemp("models")))
        return evaluation.train_classifier(TINY).modules["classifier"]


def test_scores_of_real_images_and_of_noise(classifier):
    images = evaluation.data.mnist("train")[0][:1000]
    real, noise = (evaluation.scores(x, classifier) for x in (images, torch.rand_like(images) * 2 - 1))
    assert set(real) == {*evaluation.NAMES, "confidence"}
    assert real["frechet"] == evaluation.frechet(images, classifier)
    for key in evaluation.NAMES:
        assert (real[key] < noise[key]) == (key in ("frechet", "kernel", "class_kl")), key


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.01, 255.0])
def test_images_out_of_range_are_refused(classifier, value):
    images = torch.zeros(2000, 1, 28, 28)
    images[7, 0, 3, 3] = value
    for measure in (evaluation.frechet, evaluation.scores):
        with pytest.raises(ValueError, match="images must have values in"):
            measure(images, classifier)


def test_images_of_bytes_and_sets_without_neighbours_are_refused(classifier):
    with pytest.raises(ValueError, match="not torch.uint8"):
        evaluation.scores(torch.zeros(2000, 1, 28, 28, dtype=torch.uint8), classifier)
    with pytest.raises(ValueError, match="more than k = 5"):
        evaluation.neighbour_scores(torch.zeros(5, 2), torch.zeros(9, 2))


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"images": 2.5}, {"channels": 0}, {"seed": -1}])
def test_the_classifier_refuses_a_setting_without_sense(setting, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    with pytest.raises(ValueError, match=f"^{next(iter(setting))} must be"):
        evaluation.train_classifier(evaluation.ClassifierConfig(**setting))
    assert not store.folder("classifier").exists()
