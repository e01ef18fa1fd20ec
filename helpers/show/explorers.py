"""The explorers of notebooks 04 to 07: menus, sliders and buttons of ipywidgets, and what happens when they change."""

import html
from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import torch
from ipywidgets import Button, Dropdown, FloatSlider, HBox, ToggleButtons, VBox
from torch import Tensor, nn
from torch.func import jacfwd

from helpers import paths
from helpers.compute import one_thread
from helpers.inversion import invert
from helpers.minima import EndPoints
from helpers.show.films import descent_film, direction_film, minima_film, path_film
from helpers.show.strips import Film, Player, Strips, display_live, gallery, png

SAMPLES = 16  # codes to choose from
POINTS, EVALUATIONS = 17, 30  # points of a path found on demand; evaluations of the pullback energy on each grid


class Explorer:
    """Widgets in `box`, and HTML in `saved` that a notebook without its kernel shows in their place.

    `__init__` of those with films keeps its arguments, then calls `build_controls`, then `draw`, which sets both.
    """

    box: VBox
    saved: str

    def _ipython_display_(self) -> None:
        display_live(self.box, self.saved)


class LatentExplorer(Explorer):
    """G(z + Σ step · direction), with a slider for each of `count` principal directions at one of 16 samples z."""

    def __init__(self, generator: nn.Module, count: int = 6, limit: float = 3.0, seed: int = 0):
        count = min(count, generator.latent_dim)
        self.generator = generator
        self.rng = torch.Generator().manual_seed(seed)
        self.sample = Dropdown(options=[(str(k + 1), k) for k in range(SAMPLES)], description="sample")
        self.steps = [
            FloatSlider(description=f"direction {k + 1}", min=-limit, max=limit, step=0.05) for k in range(count)
        ]
        self.new_samples = Button(description="New samples")
        self.picture = ipywidgets.Image(width=280)
        self.picture.add_class("sheet")
        self.samples = gallery(self.draw_codes(), columns=8)
        self.choose_sample()

        for slider in self.steps:
            slider.observe(self.show, "value")
        self.sample.observe(self.choose_sample, "value")
        self.new_samples.on_click(self.draw_samples)

        samples = VBox([self.samples, HBox([self.sample, self.new_samples])])
        self.box = VBox([samples, HBox([VBox(self.steps), self.picture])])
        self.saved = direction_film(generator, self.codes[0], self.directions, limit).page()

    def draw_codes(self) -> Tensor:
        """Draw the codes of other samples; return their images."""
        drawn = torch.randn(SAMPLES, self.generator.latent_dim, generator=self.rng)
        self.codes = drawn.to(next(self.generator.parameters()))
        with torch.no_grad():
            return self.generator(self.codes)

    def draw_samples(self, _: Button) -> None:
        self.samples.value = gallery(self.draw_codes(), columns=8).value
        self.sample.value = 0
        self.choose_sample()

    def choose_sample(self, _: object = None) -> None:
        self.code = self.codes[self.sample.value]
        self.directions, _ = principal_directions(self.generator, self.code, len(self.steps))
        for slider in self.steps:
            slider.value = 0.0
        self.show()

    @torch.no_grad()
    def show(self, _: object = None) -> None:
        steps = torch.tensor([slider.value for slider in self.steps]).to(self.code)
        with one_thread():
            image = self.generator((self.code + steps @ self.directions).unsqueeze(0))
        self.picture.value = png(image)


def principal_directions(generator: nn.Module, z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` unit directions (count, d) at a code (d,) along which G's image changes fastest, and how fast.

    These are right singular vectors and singular values (count,) of the Jacobian (784, d), the largest first.
    """
    jacobian = jacfwd(lambda code: generator(code.unsqueeze(0)).flatten())(z)
    _, values, directions = torch.linalg.svd(jacobian, full_matrices=False)
    return directions[:count], values[:count]


class InversionExplorer(Explorer):
    """A model and a digit, with a slider through the descents of its inversion and one through its certified minima."""

    def __init__(self, generators: Mapping[str, nn.Module], images: Tensor, ends: Mapping[str, EndPoints], seed: int):
        self.generators, self.images, self.ends, self.seed = generators, images, ends, seed
        self.films: dict[tuple[str, int], tuple[Film, Film]] = {}
        self.build_controls()
        self.draw()

    def build_controls(self) -> None:
        self.model = choice("model", list(self.generators))
        self.digit = image_menu(self.images, "digit")
        self.status = ipywidgets.HTML()
        self.controls = VBox([self.digit, self.model, self.status])
        self.model.observe(self.show, "value")
        self.digit.observe(self.show, "value")

    def draw(self) -> None:
        descents, minima = self.chosen_films()
        self.descent_strips = Strips(html=descents.html, frame=descents.first)
        self.minima_strips = Strips(html=minima.html, frame=minima.first)
        self.descent_player = Player(self.descent_strips, len(descents), "search")
        self.minima_player = Player(self.minima_strips, len(minima), "minimum")
        choices = HBox([gallery(self.images), self.controls])
        films = [self.descent_player, self.descent_strips, self.minima_player, self.minima_strips]
        self.box = VBox([choices, *films])
        self.saved = descents.page() + minima.page()

    def chosen_films(self) -> tuple[Film, Film]:
        """The films of the descents and of the minima for the chosen model and digit."""
        model, digit = self.model.value, self.digit.value
        if (model, digit) not in self.films:
            G, x, ends = self.generators[model], self.images[digit], self.ends[model]
            descents = descent_film(G, x, ends.z[digit], self.seed + digit)
            self.films[model, digit] = descents, minima_film(G, x, ends, digit)
        return self.films[model, digit]

    def show(self, _: object = None) -> None:
        """Show the films of the chosen model and digit, or say why there are none."""
        self.status.value = "Following the descents, which takes seconds …"
        try:
            descents, minima = self.chosen_films()
        except Exception as error:
            self.status.value = failure(error)
            return
        self.status.value = ""
        self.descent_strips.html = descents.html
        self.minima_strips.html = minima.html
        self.minima_player.slider.max = len(minima) - 1


class PathExplorer(Explorer):
    """Two of the images x_a, x_b (P, 1, h, w), a model and a kind of path, with a slider for t along the path.

    load: returns a generator by its name. known: for some models and each kind the paths (P, points, d) of the P pairs.
    Paths of other pairs are computed when a button is pressed, which takes a few seconds.
    """

    def __init__(
        self, models: Sequence[str], load: Callable[[str], nn.Module], classifier: nn.Module, x_a: Tensor, x_b: Tensor,
        known: Mapping[str, Mapping[str, Tensor]],
    ):  # fmt: skip
        self.models, self.load, self.classifier = models, load, classifier
        self.images = torch.cat([x_a, x_b])
        self.kinds, self.found = list(known[models[0]]), known_paths(known)
        self.build_controls(to=len(x_a))
        self.draw()

    def build_controls(self, to: int) -> None:
        """Menus and buttons; a subclass may add others to `controls` here. to: the number of the second image."""
        self.from_menu = image_menu(self.images, "from")
        self.to_menu = image_menu(self.images, "to", value=to)
        self.model = choice("model", self.models)
        self.kind = choice("path", [(kind.replace("$", ""), kind) for kind in self.kinds])
        self.compute = Button(description="Compute this pair")
        self.status = ipywidgets.HTML()
        menus = [self.from_menu, self.to_menu, self.model, self.kind]
        self.controls = VBox([*menus, HBox([self.compute, self.status])])
        for menu in menus:
            menu.observe(self.show, "value")
        self.compute.on_click(self.compute_paths)

    def draw(self) -> None:
        """The first film under its slider, beside the controls."""
        film = self.film()
        self.points = len(film)
        self.strips = Strips(html=film.html, frame=film.first)
        self.player = Player(self.strips, self.points, "t")
        self.box = VBox([HBox([gallery(self.images), self.controls]), self.player, self.strips])
        self.saved = film.page()

    def routes(self) -> Mapping[str, Tensor] | None:
        """The paths (points, d) of each kind between the chosen images, if they are known in one of both directions."""
        model, a, b = self.model.value, self.from_menu.value, self.to_menu.value
        if (model, b, a) in self.found:
            return {kind: path.flip(0) for kind, path in self.found[model, b, a].items()}
        return self.found.get((model, a, b))

    def film(self) -> Film:
        path, G = self.routes()[self.kind.value], self.load(self.model.value)
        return path_film(G, self.classifier, path, self.images[self.from_menu.value], self.images[self.to_menu.value])

    def show(self, _: object = None) -> None:
        """Show the chosen path, or say why there is none."""
        if self.from_menu.value == self.to_menu.value:
            self.say("Choose two different images.")
        elif self.routes() is None:
            self.say("Not computed yet: press the button.")
        else:
            try:
                self.strips.html = self.film().html
                self.status.value = ""
            except Exception as error:
                self.say(failure(error))

    def say(self, text: str) -> None:
        self.status.value = text
        self.strips.html = ""

    def compute_paths(self, _: Button) -> None:
        model, a, b = self.model.value, self.from_menu.value, self.to_menu.value
        if a == b or self.routes() is not None:
            return
        self.say("Computing the four paths, which takes seconds …")
        try:
            routes = find_paths(self.load(model), self.images[a], self.images[b], self.points)
        except Exception as error:
            self.say(failure(error))
        else:
            self.found[model, a, b] = dict(zip(self.kinds, routes, strict=True))
            self.show()


def known_paths(known: Mapping[str, Mapping[str, Tensor]]) -> dict[tuple[str, int, int], dict[str, Tensor]]:
    """The paths (points, d) of each kind, by their model and the numbers of the two images."""
    found = {}
    for model, routes in known.items():
        pairs = len(next(iter(routes.values())))
        for p in range(pairs):
            found[model, p, pairs + p] = {kind: path[p] for kind, path in routes.items()}
    return found


def find_paths(G: nn.Module, x_a: Tensor, x_b: Tensor, points: int) -> list[Tensor]:
    """Line, slerp, minimiser of U and pullback geodesic between the codes of two images: (points, d) each.

    They are faster to compute and less accurate than those of notebook 07: fewer points and evaluations.
    """
    z_a, z_b = invert(G, torch.stack([x_a, x_b])).best()
    least = paths.shortest_path(G, z_a, z_b, x_a, x_b, POINTS).path
    pullback = paths.pullback_geodesic(G, z_a, z_b, POINTS, EVALUATIONS).path
    line, sphere = paths.linear_path(z_a, z_b, points), paths.slerp(z_a, z_b, points)
    return [line, sphere, paths.regrid(least, points).to(z_a), paths.regrid(pullback, points).to(z_a)]


def image_menu(images: Tensor, description: str, value: int = 0) -> Dropdown:
    """A menu of the images by their numbers in the gallery, from 1; its value counts from 0."""
    options = [(f"image {k + 1}", k) for k in range(len(images))]
    return Dropdown(options=options, value=value, description=description)


def choice(description: str, options: Sequence) -> ToggleButtons:
    """A row of buttons of which one is pressed."""
    return ToggleButtons(options=options, description=description, style={"button_width": "120px"})


def failure(error: Exception) -> str:
    """What a read-out says after an error, since the traceback of a callback is not displayed."""
    return f"This failed: {html.escape(str(error))}"
