"""Labels of figures can be read: dark enough on white, none upon another."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import seaborn as sns

from helpers.show import figures
from helpers.store import Trained


@pytest.mark.parametrize("name", figures.COLOURS)
def test_a_label_has_a_contrast_of_four_and_a_half_on_white(name: str) -> None:
    text = figures.for_text(figures.COLOURS[name])
    assert 1.05 / (figures.luminance(np.array(text)) + 0.05) >= 4.5
    assert all(dark <= light for dark, light in zip(text, mpl.colors.to_rgb(figures.COLOURS[name]), strict=True))


def test_luminance_is_that_of_the_standard() -> None:
    assert figures.luminance(np.ones(3)) == pytest.approx(1)
    assert figures.luminance(np.full(3, 0x77 / 255)) == pytest.approx(0.1845, abs=1e-4)


def test_names_of_curves_stand_at_their_right_ends_and_do_not_overlap() -> None:
    _, (ax,) = figures.panels()
    for height in (1.0, 1.001, 1.002, 5.0):
        ax.plot([2, 1], [height, 0], label=f"curve {height}")
    ax.plot([0, 3], [0, 0])  # without a label
    figures.label_curves(ax)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 4 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(text.xy[0] == 2 for text in ax.texts)


def test_names_of_seaborn_s_curves_replace_its_legend() -> None:
    rows = [
        (epoch, seed, name, epoch + seed + len(name)) for epoch in (1, 2) for seed in (0, 1) for name in ("a", "bb")
    ]
    frame = pd.DataFrame(rows, columns=["epoch", "seed", "model", "loss"])
    _, (ax,) = figures.panels()
    palette = {"a": "#0072B2", "bb": "#D55E00"}
    sns.lineplot(frame, x="epoch", y="loss", hue="model", palette=palette, errorbar="sd", ax=ax)
    figures.label_curves(ax)
    assert ax.get_legend() is None
    assert [(text.get_text(), tuple(text.xy)) for text in ax.texts] == [("a", (2, 3.5)), ("bb", (2, 4.5))]


def test_the_style_is_seaborn_s_with_sizes_as_printed_and_our_colours() -> None:
    with mpl.rc_context():
        figures.use_style()
        sizes = [mpl.rcParams[f"{part}size"] for part in ("axes.label", "axes.title", "xtick.label", "legend.font")]
        assert sizes == pytest.approx([9, 9, 8.25, 8.25])
        assert mpl.rcParams["font.family"] == ["STIXGeneral"]
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == [
            mpl.colors.to_rgb(colour) for colour in figures.COLOURS.values()
        ]
        assert mpl.rcParams["image.cmap"] == "gray_r" and not mpl.rcParams["axes.spines.top"]


def test_histories_have_a_row_for_each_epoch_of_each_run() -> None:
    runs = [
        Trained({}, {"seed": seed, "history": [{"loss": 1.0 + seed}, {"loss": 2.0, "frechet": 3.0}]}) for seed in (4, 5)
    ]
    frame = figures.histories(runs, "loss", "frechet")
    assert frame.epoch.tolist() == [1, 2, 1, 2] and frame.seed.tolist() == [4, 4, 5, 5]
    assert frame.loss.tolist() == [5, 2, 6, 2]
    assert frame.frechet.isna().tolist() == [True, False, True, False]
