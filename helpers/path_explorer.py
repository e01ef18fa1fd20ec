"""Paths between two test images under the mouse: choose images, model and kind of path, then drag t."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers import evaluation, paths
from helpers.figures import COLOURS
from helpers.frames import Frames, Point, chart, digits, figure
from helpers.inversion import invert
from helpers.widgets import choice, frame_slider, player, thumbnails, titled

COARSE, EVALUATIONS = 17, 30  # points of a path found on demand; evaluations of the pullback energy on each grid
RESTARTS, ITERATIONS = 2, 15  # of the inversion on demand
KEPT = 50  # films at hand

Routes = Mapping[str, Tensor]  # kind of path to codes (points, d), or to those of P pairs (P, points, d)


def side_by_side(frames: Mapping[str, Tensor], x_a: Tensor, x_b: Tensor) -> widgets.VBox:
    """One slider through several paths at once, between the two images that they join; Play runs it.

    frames: for each kind of path its decoded images (T, 1, 28, 28), all of one T. x_a, x_b: (1, 28, 28).
    Raises ValueError if the paths differ in length.
    """
    lengths = {len(images) for images in frames.values()}
    if len(lengths) != 1:
        raise ValueError(f"all paths need the same number of frames, not {sorted(lengths)}.")
    slider = frame_slider(lengths.pop())
    play = player(slider)
    pictures = [digits(zoom=4, slider=slider) for _ in range(len(frames) + 2)]
    for shown, images in zip(pictures, (x_a, *frames.values(), x_b), strict=True):
        shown.show(images)
    names = ["from", *frames, "to"]
    row = widgets.HBox([titled(name, shown) for name, shown in zip(names, pictures, strict=True)])
    explorer = widgets.VBox([row, widgets.HBox([play, slider])])
    explorer.slider, explorer.play, explorer.pictures = slider, play, pictures
    return explorer


def find_routes(G: nn.Module, x_a: Tensor, x_b: Tensor, points: int) -> Iterator[Routes]:
    """The four paths between the codes of two images (1, 28, 28), after each of three steps those known by then.

    Quicker and rougher than the notebook's: fewer starts, points and evaluations (see the top of this file).
    """
    z_a, z_b = invert(G, torch.stack([x_a, x_b]), RESTARTS, iterations=ITERATIONS).best()
    routes = {"straight line": paths.linear_path(z_a, z_b, points), "great arc": paths.slerp(z_a, z_b, points)}
    yield routes

    def dense(path: Tensor) -> Tensor:
        return paths.constant_speed(path, torch.ones(len(path) - 1).to(path), points).to(z_a)

    routes |= {"least U": dense(paths.shortest_path(G, z_a, z_b, x_a, x_b, COARSE).path)}
    yield routes
    yield routes | {"pullback": dense(paths.pullback_geodesic(G, z_a, z_b, COARSE, EVALUATIONS).path)}


@torch.no_grad()
def film(
    G: nn.Module, judge: nn.Module, path: Tensor, x_a: Tensor, x_b: Tensor
) -> tuple[Tensor, tuple[Figure, list[Point]], list[str]]:
    """All frames of a path (T, d): images, their place on three curves, and what to read off in words."""
    images, t = G(path), torch.linspace(0, 1, len(path))
    c = paths.image_cost(G, x_a, x_b)(path.unsqueeze(0))[0].cpu() / (0.5 * (x_a - x_b).square().sum().item())
    radius = path.norm(dim=1).cpu() / math.sqrt(path.shape[1])
    sure, digit = evaluation.in_batches(judge, images).softmax(1).cpu().max(1)
    fig, axes = figure(3, 3.2, 3.0)
    rows = [(c, "$c$ / floor"), (radius, r"$\Vert Z\Vert/\sqrt{d}$"), (sure, "confidence")]
    for ax, (values, label) in zip(axes, rows, strict=True):
        ax.plot(t, values, color=COLOURS["data"])
        ax.set(ylabel=label, ylim=(0, 1.15 * max(1.0, values.max().item())))
    axes[-1].set(xlabel="$t$")
    fig.align_ylabels()
    points = [(ax, t, values, COLOURS["theory"]) for ax, (values, _) in zip(axes, rows, strict=True)]
    words = [
        f"t = {time:.2f}: c is {cost:.2f} times its floor, ‖Z‖ = {size:.2f} √d, classifier {share:.0%} sure of a {k}"
        for time, cost, size, share, k in zip(t, c, radius, sure, digit, strict=True)
    ]
    return images, (fig, points), words


class PathExplorer(widgets.VBox):
    """Any two of some test images, a model, a kind of path: drag along it.

    generators: by the names to show, a function where one is only loaded when asked for. x_a, x_b: (P, 1, 28, 28).
    routes: for some of the generators all paths of the P pairs, (P, points, d), which are there at once. Others are
    computed in a thread when the button is pressed, and the sliders go on meanwhile.
    """

    def __init__(
        self,
        generators: Mapping[str, nn.Module | Callable[[], nn.Module]],
        judge: nn.Module,
        x_a: Tensor,
        x_b: Tensor,
        routes: Mapping[str, Routes],
    ):
        self.generators, self.judge, self.images = generators, judge, torch.cat([x_a, x_b])
        self.known, self.films = {}, {}
        for name, found in routes.items():
            for p in range(len(x_a)):
                plain = {kind.replace("$", ""): path[p] for kind, path in found.items()}
                self.known[name, p, len(x_a) + p] = plain
                self.known[name, len(x_a) + p, p] = {kind: path.flip(0) for kind, path in plain.items()}
        self.points, self.pair, self.busy = len(next(iter(plain.values()))), [p, len(x_a) + p], False
        self.model, self.kind = choice("Model", list(generators)), choice("Path", list(plain))
        self.slider = frame_slider(self.points, "Frame of t")
        self.ends, self.picture = (digits(zoom=4), digits(zoom=4)), digits(zoom=8, slider=self.slider)
        self.chart, self.words = chart(3.2, 3.0, self.slider), Frames(slider=self.slider)
        self.status = widgets.Label()
        self.button = widgets.Button(description="Compute this pair", button_style="primary")
        self.progress = widgets.IntProgress(max=4, layout=widgets.Layout(display="none", width="160px"))
        names = [f"image {k + 1} of {len(self.images)}" for k in range(len(self.images))]
        self.grids = [thumbnails(self.images, names, partial(self._choose, end), 10) for end in (0, 1)]
        sides = zip(("from", "G(Z(t))", "to", ""), (self.ends[0], self.picture, self.ends[1], self.chart), strict=True)
        super().__init__(
            [
                widgets.HBox([titled("from", self.grids[0]), titled("to", self.grids[1])]),
                widgets.HBox([self.model, self.kind]),
                widgets.HBox([self.button, self.progress, self.status]),
                widgets.HBox([titled(*side) for side in sides]),
                widgets.HBox([player(self.slider), self.slider]),
                self.words,
            ]
        )
        self.model.observe(self.select, "value")
        self.kind.observe(self.select, "value")
        self.button.on_click(self.compute)
        self.select()

    def _choose(self, end: int, number: int) -> None:
        self.pair[end] = number
        self.select()

    def select(self, _=None) -> None:
        """Show the frames of what is chosen, or offer to compute it."""
        key, ends = (self.model.value, *self.pair), self.images[self.pair]
        for widget, image, grid, number in zip(self.ends, ends, self.grids, self.pair, strict=True):
            widget.show(image)
            grid.mark(number)
        path = self.known.get(key, {}).get(self.kind.value)
        same = key[1] == key[2]
        self.slider.disabled, self.button.disabled = path is None, path is not None or self.busy or same
        if path is None:
            self.picture.show(torch.zeros(28, 28))
            self.chart.clear()
            self.words.words = ["Choose two different images." if same else "Not computed yet."]
            return
        reel = (*key, self.kind.value)
        if reel not in self.films:
            self.films = dict(list(self.films.items())[-KEPT:])
            self.films[reel] = film(self._generator(key[0]), self.judge, path, *ends)
        images, curves, self.words.words = self.films[reel]
        self.picture.show(images)
        self.chart.plot(*curves)

    def _generator(self, name: str) -> nn.Module:
        G = self.generators[name]
        return G if isinstance(G, nn.Module) else G()

    def compute(self, _=None) -> None:
        """Find the paths of what is chosen, in a thread."""
        self.thread = threading.Thread(target=self._find, args=((self.model.value, *self.pair),), daemon=True)
        self.busy, self.button.disabled = True, True
        self.thread.start()

    def _find(self, key: tuple[str, int, int]) -> None:
        self.progress.layout.display, self.progress.value, self.status.value = "flex", 1, "Inverting both images"
        try:
            steps = find_routes(self._generator(key[0]), *self.images[list(key[1:])], self.points)
            for step, then in zip(steps, ("Minimising U", "Minimising the pullback energy", ""), strict=True):
                self.known[key], self.status.value = step, then
                self.progress.value += 1
                self.select()
            self.status.value = "Found from fewer starts, points and evaluations than this notebook's own pairs."
        except Exception as error:  # a thread's traceback would reach nobody
            self.status.value = f"Failed: {error}"
        self.busy, self.progress.layout.display = False, "none"
        self.select()
