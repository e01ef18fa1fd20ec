"""Bend a path by hand: a plane of latent space whose cost is the ground, and a path in it whose middle is dragged.

Places in the plane are in units of the distance between both codes: z_A is (0, 0) and z_B is (1, 0). The path is a
quadratic Bézier curve through its middle at constant speed, and its energy that of `paths.path_energy`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from helpers import paths
from helpers.compute import one_thread
from helpers.inversion import Decode
from helpers.show.decoder import bytes_of, short
from helpers.show.play import Play

FRAME = {"left": -0.1, "right": 1.1, "bottom": -0.3, "top": 0.3}  # of the plane that is shown
COLUMNS, ROWS = 97, 49  # of the ground
POINTS, FINE = 17, 33  # of a path while it moves, and when it rests


@dataclass(frozen=True)
class Pair:
    """Two codes and images, the plane through the codes and the middle of their minimiser of U, and the known paths."""

    name: str
    z_a: Tensor  # (d,), float64
    plane: Tensor  # (2, d): z_B − z_A, and a direction at right angles to it that is as long
    x_a: Tensor
    x_b: Tensor
    known: dict[str, Tensor]  # those that leave the plane, (FINE, d) at constant speed

    @property
    def bound(self) -> Tensor:
        """The lower bound of c."""
        return 0.5 * (self.x_a - self.x_b).square().sum()

    def code(self, place: Tensor) -> Tensor:
        """The codes (…, d) at places (…, 2) of the plane."""
        return self.z_a + place @ self.plane

    def content(self, generator: Decode) -> dict:
        """What bend.js needs to know of the pair; the ground is c over its lower bound, from `low` at 0 to 255."""
        across = torch.linspace(FRAME["left"], FRAME["right"], COLUMNS).to(self.z_a)
        up = torch.linspace(FRAME["top"], FRAME["bottom"], ROWS).to(self.z_a)
        places = torch.cartesian_prod(up, across).flip(1)  # row by row from the top
        cost = paths.image_cost(generator, self.x_a, self.x_b)(self.code(places)) / self.bound
        low, high = cost.min().item(), cost.max().item()
        ground = 2 * (cost - low) / max(high - low, 1e-9) - 1
        facts = {"name": self.name, "size": len(self.z_a), "low": low, "high": high, "ground": text_of(ground)}
        facts |= {"origin": short(self.z_a), "plane": short(self.plane)}
        facts |= {"images": text_of(torch.stack([self.x_a, self.x_b]))}
        return facts | {"known": {name: short(path) for name, path in self.known.items()}}


def text_of(values: Tensor) -> str:
    """Values in [−1, 1] as bytes in base64."""
    return base64.b64encode(bytes_of(values)).decode()


def plane_of(z_a: Tensor, z_b: Tensor, middle: Tensor) -> Tensor:
    """Two directions (2, d) at right angles, both as long as z_b − z_a: to z_b, and from this line towards `middle`."""
    along = z_b - z_a
    aside = beside(middle - z_a, along)
    if aside.norm() < 1e-6 * along.norm():  # the minimiser is the straight line: any direction will do
        aside = beside(torch.eye(len(along)).to(along)[along.abs().argmin()], along)
    return torch.stack([along, aside * along.norm() / aside.norm()])


def beside(vector: Tensor, along: Tensor) -> Tensor:
    """The part of a vector that is at right angles to another."""
    return vector - (vector @ along) / along.square().sum() * along


def bezier(middle: Tensor, points: int = 2 * FINE - 1) -> Tensor:
    """Places (points, 2) of the quadratic Bézier curve from (0, 0) to (1, 0) that passes `middle` (2,) at t = ½."""
    t = torch.linspace(0, 1, points).to(middle).unsqueeze(1)
    end = torch.tensor([1.0, 0.0]).to(middle)
    return 2 * t * (1 - t) * (2 * middle - end / 2) + t.square() * end


def evenly(generator: Decode, pair: Pair, path: Tensor, points: int) -> Tensor:
    """A path (T + 1, d) between the codes of a pair, at constant speed in the metric c I: (points, d)."""
    density = paths.conformal_density(paths.image_cost(generator, pair.x_a, pair.x_b), path)
    return paths.constant_speed(path, density.sqrt(), points)


def measures(generator: Decode, pair: Pair, path: Tensor) -> dict[str, float]:
    """U of a path (T + 1, d), ρ, its length in ‖z_B − z_A‖, and ρ/length² and the largest c in lower bounds of c."""
    straight = pair.plane[0].norm()
    energy = paths.path_energy(generator, path, pair.x_a, pair.x_b)
    rho = (energy / (pair.bound * straight.square())).item()
    length = (path.diff(dim=0).norm(dim=1).sum() / straight).item()
    costs = paths.image_cost(generator, pair.x_a, pair.x_b)((path[1:] + path[:-1]) / 2) / pair.bound
    facts = {"energy": energy.item(), "rho": rho, "length": length}
    return facts | {"mean": rho / length**2, "largest": costs.max().item()}


class Bend(Play):
    """The figure for P pairs of codes z_a, z_b (P, d) and 28 × 28 images x_a, x_b; names: what the pairs are called.

    minimiser: paths (P, T + 1, d) of minimal U. The generator is a module in evaluation mode.
    """

    name = "bend"

    @torch.no_grad()
    def __init__(
        self,
        generator: nn.Module,
        ends: tuple[Tensor, Tensor],
        images: tuple[Tensor, Tensor],
        minimiser: Tensor,
        names: Sequence[str],
    ):
        each = zip(names, *ends, *images, minimiser, strict=True)
        self.pairs = [self.pair(generator, *parts) for parts in each]
        content = {"frame": FRAME, "columns": COLUMNS, "points": POINTS, "fine": FINE}
        content["pairs"] = [pair.content(generator) for pair in self.pairs]
        super().__init__(generator, ends[0], content)

    @staticmethod
    def pair(generator: Decode, name: str, *parts: Tensor) -> Pair:
        """The pair of two codes (d,), their images, and a minimiser (T + 1, d)."""
        z_a, z_b, x_a, x_b, least = (part.detach().double() for part in parts)
        least = paths.regrid(least, FINE)
        pair = Pair(name, z_a, plane_of(z_a, z_b, least[FINE // 2]), x_a, x_b, {})
        sphere = evenly(generator, pair, paths.slerp(z_a, z_b, 2 * FINE - 1), FINE)
        pair.known.update({"slerp": sphere, "minimiser": least})
        return pair

    def route(self, asked: dict) -> Tensor:
        """The path that is asked for, in the coordinates of latent space."""
        pair = self.pairs[asked["pair"]]
        if asked["path"] in pair.known:
            return pair.known[asked["path"]]
        return pair.code(bezier(torch.tensor(asked["middle"]).to(pair.z_a)))

    @torch.no_grad()
    def answer_to(self, asked: dict) -> dict:
        """The images of 16 midpoints of a path, and its measures, more precise where `fine` is asked."""
        pair, route = self.pairs[asked["pair"]], self.route(asked)
        with one_thread():
            path = evenly(self.generator, pair, route, POINTS)
            images = paths.decode(self.generator, (path[1:] + path[:-1]) / 2)
            finer = evenly(self.generator, pair, route, FINE) if asked["fine"] else path
            return {"images": bytes_of(images)} | measures(self.generator, pair, finer)
