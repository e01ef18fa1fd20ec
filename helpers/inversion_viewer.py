"""Inversion under the mouse: several starts on their way down, frame by frame, and the minima that were proved."""

from collections.abc import Mapping

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers.certificate import KINDS
from helpers.figures import COLOURS
from helpers.frames import Frames, Point, chart, digits, figure
from helpers.inversion import gradient_descent, quasi_newton
from helpers.widgets import choice, frame_slider, player, thumbnails, titled

STEPS, EVERY, BUDGETS = 200, 8, (5, 10, 20, 40, 80)  # gradient descent; its frames; evaluations of BFGS at a frame


def descent(G: nn.Module, x: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, list[str]]:
    """The codes (T, R, d) on the way from start to end (R, d) for an image x (1, 28, 28), and what each frame is.

    The steps of gradient descent are its own, recorded as it decodes; those of BFGS are its results after so many
    evaluations, all from where gradient descent ended.
    """
    targets, codes = x.flatten().expand(len(start), -1), []

    def watched(z: Tensor) -> Tensor:
        codes.append(z.detach().clone())
        return G(z)

    codes.append(gradient_descent(watched, targets, start, STEPS))
    film = codes[::EVERY] + [quasi_newton(G, targets, codes[-1], budget) for budget in BUDGETS] + [end]
    names = [f"gradient descent, step {step}" for step in range(0, STEPS + 1, EVERY)]
    return torch.stack(film), [*names, *(f"BFGS, {budget} evaluations" for budget in BUDGETS), "end points"]


class InversionViewer(widgets.VBox):
    """Choose a model and a digit; one slider runs through the optimisation, one through the proved minima.

    generators: by the names to show, in the precision of the images (n, 1, 28, 28). ends: for each what was found,
    with z (n, starts, d) and loss, kind, kinks, residual (n, starts). The first `restarts` starts are shown; they were
    drawn as `inversion.invert` draws them, with seed + i for image i.
    """

    def __init__(
        self, generators: Mapping[str, nn.Module], images: Tensor, ends: Mapping[str, nn.Module],
        seed: int = 0, restarts: int = 6,
    ):  # fmt: skip
        self.generators, self.images, self.found, self.seed, self.restarts = generators, images, ends, seed, restarts
        self.digit, self.films = 0, {}
        self.model = choice("Model", list(generators))
        names = [f"test image {k + 1}" for k in range(len(images))]
        self.grid = thumbnails(images, names, self._choose, columns=len(images), side=44)
        self.slider = frame_slider(STEPS // EVERY + len(BUDGETS) + 2)
        self.pictures, self.words = digits(1, restarts, 4, self.slider), Frames(slider=self.slider)
        self.chart = chart(7.0, 1.8, self.slider)
        self.which = frame_slider(1, "Minimum")
        self.which.readout = False  # the words below count from 1
        self.minimum = digits(1, 3, 4, self.which)
        transport = widgets.HBox([player(self.slider), self.slider])
        super().__init__([
            widgets.HBox([self.model, self.grid]),
            titled("Several starts", self.pictures), self.chart, transport, self.words,
            titled("Proved minima: test image, rebuilt, difference", self.minimum), self.which,
        ])  # fmt: skip
        self.model.observe(self.select, "value")
        self.select()

    def _choose(self, digit: int) -> None:
        self.digit = digit
        self.select()

    def select(self, _=None) -> None:
        """Show the descents and the minima of the chosen model and digit; a first look at them takes seconds."""
        self.grid.mark(self.digit)
        key = (self.model.value, self.digit)
        if key not in self.films:
            self.words.words = ["Descending …"]
            self.films[key] = self._descents(*key), self.proved(*key)
        (images, curves, self.words.words), (minima, self.minimum.words) = self.films[key]
        self.pictures.show(images, self.restarts)
        self.chart.plot(*curves)
        self.which.value, self.which.max = 0, len(minima) - 1
        self.minimum.show(minima, 3)

    def descents(self, name: str, digit: int) -> tuple[Tensor, Tensor, list[str]]:
        """Of the shown starts the images (T, restarts, 1, 28, 28) and losses (T, restarts), and what each frame is."""
        G, x, z = self.generators[name], self.images[digit], self.found[name].z[digit]
        rng = torch.Generator().manual_seed(self.seed + digit)
        start = torch.randn(1, *z.shape, generator=rng)[0, : self.restarts].to(z)
        codes, names = descent(G, x, start, z[: self.restarts])
        with torch.no_grad():
            decoded = G(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        return decoded, (decoded - x).square().flatten(2).sum(2).cpu(), names

    def _descents(self, name: str, digit: int) -> tuple[Tensor, tuple[Figure, list[Point]], list[str]]:
        """The descents' images, their losses with moving points, and words."""
        decoded, losses, names = self.descents(name, digit)
        fig, (ax,) = figure(1, 7.0, 1.8)
        ax.semilogy(losses, color=COLOURS["data"])
        ax.axvline(STEPS // EVERY, color=COLOURS["theory"], linewidth=0.6, linestyle=":")
        ax.set(xlabel="frame: gradient descent, then BFGS", ylabel="loss", xlim=(0, len(losses) - 0.5))
        points = [(ax, range(len(losses)), row, COLOURS["theory"]) for row in losses.T]
        words = [
            f"{what}: losses {', '.join(f'{v:.1f}' for v in row)}" for what, row in zip(names, losses, strict=True)
        ]
        return decoded, (fig, points), words

    @torch.no_grad()
    def proved(self, name: str, digit: int) -> tuple[Tensor, list[str]]:
        """For each proved minimum test image, rebuilt, difference (M, 3, 1, 28, 28), and words."""
        ends, x = self.found[name], self.images[digit]
        order = ends.loss[digit].argsort()
        proved = [k for k in order.tolist() if ends.kind[digit, k] < 2]
        if not proved:
            return torch.stack([x, -torch.ones_like(x), -torch.ones_like(x)])[None], ["None is proved."]
        rebuilt = self.generators[name](ends.z[digit, proved])
        pictures = torch.stack([x.expand_as(rebuilt), rebuilt, (rebuilt - x).abs() - 1], 1)
        facts = [
            f"{n} of {len(proved)}: {KINDS[int(ends.kind[digit, k])]}, {ends.kinks[digit, k]:.0f} units at their kink, "
            f"loss {ends.loss[digit, k]:.2f}, ‖z‖ = {ends.z[digit, k].norm():.1f}, "
            f"gradient left {ends.residual[digit, k]:.0e}"
            for n, k in enumerate(proved, 1)
        ]
        return pictures, facts
