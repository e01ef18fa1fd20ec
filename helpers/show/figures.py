"""A common style for all figures: sizes as printed, colours by role, grids of digits."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from torch import Tensor

from helpers.show import latex
from helpers.store import Trained

WIDTH = 6.3  # inches: the text width of the report, so that font sizes are as printed

# Okabe and Ito's colours, which colour-blind readers can distinguish, also in greyscale by their lightness.
COLOURS = {
    "gan": "#0072B2",
    "wgan-gp": "#D55E00",
    "r1": "#E69F00",
    "path-aware": "#009E73",
    "gaussian": "#56B4E9",
    "echo": "#CC79A7",
    "theory": "#000000",
    "data": "#7F7F7F",
}

# Markers, line style and colour for the curves of each role, used as ax.plot(x, y, **STYLES["gan"]).
LINES = {
    "gan": "o-",
    "wgan-gp": "s--",
    "path-aware": "^-.",
    "gaussian": "o-",
    "echo": "s--",
    "theory": " -",
    "data": " :",
}
STYLES = {role: {"color": COLOURS[role], "marker": line[0], "linestyle": line[1:]} for role, line in LINES.items()}


# What seaborn's "ticks" and "paper" leave to say: the report's font, spines and layout, and sharp images of digits.
SETTINGS = {
    "mathtext.fontset": "stix",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "pdf.fonttype": 42,
    "image.cmap": "gray_r",
    "image.interpolation": "none",
}
FONT_SCALE = 9 / 9.6  # labels of 9 points, ticks of 8.25, where seaborn's "paper" has 9.6 and 8.8


def use_style() -> None:
    """Set seaborn's theme with our colours and font; each notebook calls this once before its first figure."""
    latex.set_fonts()
    palette = list(COLOURS.values())
    sns.set_theme("paper", "ticks", palette, font="STIXGeneral", font_scale=FONT_SCALE, rc=SETTINGS)


def panels(
    rows: int = 1, columns: int = 1, height: float = 2.4, width: float = WIDTH, **options
) -> tuple[Figure, np.ndarray]:
    """A figure of the text's width (height in inches) with rows × columns axes, and a flat array of these axes."""
    fig, axes = plt.subplots(rows, columns, figsize=(width, height), **options)
    return fig, np.atleast_1d(axes).ravel()


def letter(*axes: Axes) -> None:
    """Write (a), (b), … above the upper left corners of several axes, as captions call them."""
    for number, ax in enumerate(axes):
        ax.set_title(f"({chr(ord('a') + number)})", loc="left", fontsize=9)


def digits(
    ax: Axes,
    images: Tensor,
    columns: int,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    name: str = "",
    colour: str = "black",
) -> None:
    """Draw images (N, 1, 28, 28) in [−1, 1] as one grid without gaps, with dark ink and sharp pixels in any viewer.

    The names of rows are on the left, those of columns above, and the name of the grid is below it in its colour.
    """
    pixels = images.detach().cpu().reshape(-1, 28, 28).float().numpy()  # (N, 28, 28)
    missing = -len(pixels) % columns  # to fill the last row
    blank = np.full((missing, 28, 28), -1.0, dtype=pixels.dtype)
    rows = np.concatenate([pixels, blank]).reshape(-1, columns, 28, 28)  # (R, columns, 28, 28)
    lines = rows.transpose(0, 2, 1, 3)  # (R, 28, columns, 28): lines of pixels across a whole row
    sheet = lines.reshape(28 * len(rows), 28 * columns)
    enlarged = np.kron(sheet, np.ones((4, 4)))  # 4 × 4 for each pixel, as some viewers of PDF blur small images
    ax.imshow(enlarged, vmin=-1, vmax=1, extent=(0, columns, len(rows), 0))
    ax.set_axis_off()
    for row, words in enumerate(row_names):
        ax.text(-0.15, row + 0.5, words, ha="right", va="center", fontsize=8)
    for column, words in enumerate(column_names):
        ax.text(column + 0.5, -0.1, words, ha="center", va="bottom", fontsize=8)
    ax.text(columns / 2, len(rows) + 0.15, name, ha="center", va="top", color=for_text(colour))


def for_text(colour: str) -> tuple[float, float, float]:
    """The colour, darkened until text on white has a contrast ratio of 4.5, also in greyscale (WCAG 2.1)."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    while 1.05 / (luminance(rgb) + 0.05) < 4.5:
        rgb *= 0.97
    return tuple(rgb)


def luminance(rgb: np.ndarray) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def direct_label(ax: Axes, x: float, y: float, text: str, colour: str, **options) -> Annotation:
    """Write the name of a curve next to it in its colour, in place of a legend."""
    options = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8} | options
    return ax.annotate(text, (x, y), color=for_text(colour), annotation_clip=False, **options)


def label_curves(ax: Axes) -> None:
    """Write the name of every named line at its right end, in its colour, after limits and scales are set.

    Names come from `label=`, or from a legend of seaborn's (`hue=`), which is removed. Those that would overlap are
    moved apart.
    """
    lines = [line for line in ax.get_lines() if np.isfinite(line.get_xydata()).all(1).any()]
    entries = [line for line in ax.get_lines() if line not in lines]  # of seaborn's legend: lines without points
    names = {line.get_color(): line.get_label() for line in entries}
    labels = []
    for line in lines:
        name = line.get_label()
        name = names.get(line.get_color(), name) if name.startswith("_") else name
        if not name.startswith("_"):
            labels.append(direct_label(ax, *right_end(line), name, line.get_color()))
    if names and ax.get_legend():
        ax.get_legend().remove()
    ax.figure.draw_without_rendering()
    move_apart(labels)


def right_end(line: Line2D) -> np.ndarray:
    """The point (x, y) of a line that is drawn furthest right."""
    points = line.get_xydata()
    points = points[np.isfinite(points).all(1)]
    return points[line.axes.transData.transform(points)[:, 0].argmax()]


def move_apart(labels: Sequence[Annotation]) -> None:
    """Move labels that overlap up and down until they do not, in at most a hundred steps of half a point."""
    for _ in range(100):
        pairs = combinations(sorted(labels, key=lambda label: label.get_window_extent().y0), 2)
        for lower, upper in pairs:
            if lower.get_window_extent().overlaps(upper.get_window_extent()):
                lower.xyann = (lower.xyann[0], lower.xyann[1] - 0.5)
                upper.xyann = (upper.xyann[0], upper.xyann[1] + 0.5)


def histories(runs: Iterable[Trained], *keys: str) -> pd.DataFrame:
    """What trainings recorded, for seaborn: columns seed, epoch (from 1) and `keys`, a row for each epoch of each run.

    Cells are NaN in epochs that did not record the key, and seaborn leaves these out.
    """
    tables = []
    for run in runs:
        table = pd.DataFrame({key: pd.Series(run.curve(key), dtype=float) for key in keys})
        tables.append(table.rename_axis("epoch").reset_index().assign(seed=run.record["seed"]))
    return pd.concat(tables, ignore_index=True)


def mean_bars(ax: Axes, frame: pd.DataFrame, x: str, y: str) -> None:
    """Over the points of the groups y of a tidy table, the mean of x in each group ± one standard error."""
    look = {"marker": "|", "markersize": 9, "linestyle": "none", "err_kws": {"linewidth": 1.2}}
    sns.pointplot(frame, x=x, y=y, color=COLOURS["theory"], errorbar="se", **look, ax=ax)
