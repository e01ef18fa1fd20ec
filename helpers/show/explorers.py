"""The contents of the sliders at the end of notebooks 03 to 07: for each frame images, points on curves, and text."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.func import jacfwd

from helpers import paths
from helpers.beta_vae import BetaVAE, EchoVAE
from helpers.certificate import KINDS
from helpers.compute import in_batches, one_thread
from helpers.inversion import STEPS, gradient_descent, invert, quasi_newton
from helpers.show.figures import COLOURS
from helpers.show.strips import Curve, Player, choice, dial, film_html
from helpers.store import Trained

COLUMNS = 5  # test images shown for each β
EVERY, BUDGETS = 8, (5, 10, 20, 40, 80)  # steps of gradient descent, evaluations of BFGS, between the frames
POINTS, EVALUATIONS = 17, 30  # points of a path found on demand; evaluations of the pullback energy on each grid


def beta_frames(
    sweeps: Mapping[str, Trained], x: Tensor, seed: int = 0
) -> tuple[list[float], dict[str, list[int]], dict[str, Tensor], list[str]]:
    """All β of some sweeps; for each type of noise the model nearest to each β and its images; and the text at each β.

    The weights must be in the store. x: (N, 784) in [0, 1]. Images: (T, 4, COLUMNS, 28, 28), see the next function.
    """
    listed = {noise: run.record["config"]["betas"] for noise, run in sweeps.items()}
    betas = sorted(set().union(*listed.values()))
    members, pictures, words = {}, {}, []
    for noise, run in sweeps.items():
        own, scores = listed[noise], run.modules["scores"]
        near = members[noise] = [min(range(len(own)), key=lambda k: abs(own[k] / beta - 1)) for beta in betas]
        pictures[noise] = reconstruct_and_sample(run.modules["autoencoders"], x, seed)[near]
        words.append(
            [
                f"{noise.replace('g', 'G')}: {'nearest ' * (own[k] != beta)}β = {own[k]:.3g}, "
                f"R = {scores.rate[k]:.1f}, D = {scores.distortion[k]:.1f}"
                for k, beta in zip(near, betas, strict=True)
            ]
        )
    return betas, members, pictures, ["   |   ".join(parts) for parts in zip(*words, strict=True)]


@torch.no_grad()
def reconstruct_and_sample(model: BetaVAE, x: Tensor, seed: int) -> Tensor:
    """For each model a row of test images, one of reconstructions and two of samples: (K, 4, COLUMNS, 28, 28).

    A Gaussian model decodes samples of the prior. The marginal distribution of an echo encoder is that of the codes of
    random data, so an echo model decodes the codes of other images. The values lie in [−1, 1].
    """
    rng = torch.Generator(x.device).manual_seed(seed)
    decoded = model.decode(model.sample(*model.encode(x), rng))[:, : 3 * COLUMNS]
    if not isinstance(model, EchoVAE):
        prior = torch.randn(2 * COLUMNS, model.config.latent_dim, generator=rng, device=x.device)
        decoded[:, COLUMNS:] = model.decode(prior.expand(len(decoded), -1, -1))
    rows = torch.cat([x[:COLUMNS].expand(len(decoded), -1, -1), decoded], 1)
    return 2 * rows.reshape(len(decoded), 4, COLUMNS, 28, 28) - 1


def beta_curves(sweeps: Mapping[str, Trained], members: Mapping[str, list[int]]) -> tuple[Figure, list[Curve]]:
    """The rate-distortion curves of the sweeps, and the points of their models on them."""
    fig, (ax,) = chart(1, 3.0, 2.6)
    curves = []
    for noise, run in sweeps.items():
        rate, error = (run.modules["scores"].get_buffer(name).cpu() for name in ("rate", "distortion"))
        ax.plot(rate, error, color=COLOURS[noise], label=noise.replace("g", "G"))
        curves.append((ax, rate[members[noise]], error[members[noise]], COLOURS[noise]))
    ax.set(xlabel="rate (nats)", ylabel="squared error", xlim=(0, None), ylim=(0, 1.1 * ax.dataLim.y1))
    ax.legend()
    return fig, curves


def principal_directions(generator: nn.Module, z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` unit directions (count, d) at a code (d,) along which G's image changes fastest, and how fast.

    These are right singular vectors and singular values (count,) of the Jacobian (784, d), the largest first.
    """
    jacobian = jacfwd(lambda code: generator(code.unsqueeze(0)).flatten())(z)
    _, values, directions = torch.linalg.svd(jacobian, full_matrices=False)
    return directions[:count], values[:count]


def latent_explorer(generator: nn.Module, count: int = 6, limit: float = 3.0, seed: int = 0) -> Player:
    """G(z + Σ step · direction) with sliders along `count` principal directions at one of 16 samples z."""
    dials, rng = [f"Direction {k + 1}" for k in range(count)], torch.Generator().manual_seed(seed)
    start = {"Sample": 0} | dict.fromkeys(dials, 0)
    codes = torch.randn(16, generator.latent_dim, generator=rng).to(next(generator.parameters()))

    @cache
    def directions(sample: int) -> Tensor:
        return principal_directions(generator, codes[sample], count)[0]

    @torch.no_grad()
    def show(values: dict) -> str:
        steps = torch.tensor([float(values[name]) for name in dials]).to(codes)
        with one_thread():
            image = generator((codes[values["Sample"]] + steps @ directions(values["Sample"])).unsqueeze(0))
        return film_html({"": image}, "", [""], side=280)

    def controls() -> str:
        names = [f"sample {k + 1}" for k in range(16)]
        sliders = "".join(dial(name, limit) for name in dials)
        return (
            choice("Sample", names, generator(codes), columns=8)
            + sliders
            + '<button type="button">New samples</button>'
        )

    def draw(player: Player) -> None:
        codes.copy_(torch.randn(codes.shape, generator=rng))
        directions.cache_clear()
        player.controls, player.values = controls(), start

    return Player(controls(), start, show, draw)


def descents(G: nn.Module, x: Tensor, ends: Tensor, seed: int, restarts: int = 6) -> tuple[Tensor, Tensor, list[str]]:
    """How the first starts of `inversion.invert` converge to their end points (starts, d), for one image x (1, 28, 28).

    Returns images (T, restarts, 1, 28, 28), losses (T, restarts) and a name for each frame. The steps of gradient
    descent are recorded as it runs. BFGS starts from its result, with one run for each number of evaluations.
    """
    start = torch.randn(1, *ends.shape, generator=torch.Generator().manual_seed(seed))[0, :restarts].to(ends)
    targets, codes = x.flatten().expand(len(start), -1), []

    def recorded(z: Tensor) -> Tensor:
        codes.append(z.detach().clone())
        return G(z)

    codes.append(gradient_descent(recorded, targets, start, STEPS))
    polished = [quasi_newton(G, targets, codes[-1], budget) for budget in BUDGETS]
    names = [f"gradient descent, step {step}" for step in range(0, STEPS + 1, EVERY)]
    names += [*(f"BFGS, {budget} evaluations" for budget in BUDGETS), "end points"]
    with torch.no_grad():
        decoded = torch.stack([G(z) for z in [*codes[::EVERY], *polished, ends[:restarts]]])
    return decoded, (decoded - x).square().flatten(2).sum(2).cpu(), names


@torch.no_grad()
def certified_minima(G: nn.Module, x: Tensor, ends: nn.Module, image: int) -> tuple[Tensor, list[str]]:
    """Test image, reconstruction, difference of each certified minimum (M, 3, 28, 28), lowest loss first, with texts.

    ends: z (n, starts, d) and loss, kind, kinks, residual (n, starts), of which those of the given image are used.
    """
    certified = [k for k in ends.loss[image].argsort().tolist() if ends.kind[image, k] < 2]
    if not certified:
        return torch.stack([x, -torch.ones_like(x), -torch.ones_like(x)], 1), ["no end point is certified"]
    decoded = G(ends.z[image, certified])
    words = [
        f"{n} of {len(certified)}: {KINDS[int(ends.kind[image, k])]}, {ends.kinks[image, k]:.0f} units at their kink, "
        f"loss {ends.loss[image, k]:.2f}, ‖z‖ = {ends.z[image, k].norm():.1f}, "
        f"remaining gradient {ends.residual[image, k]:.0e}"
        for n, k in enumerate(certified, 1)
    ]
    return torch.cat([x.expand_as(decoded), decoded, (decoded - x).abs() - 1], 1), words


def inversion_explorer(
    generators: Mapping[str, nn.Module], images: Tensor, ends: Mapping[str, nn.Module], seed: int
) -> Player:
    """A choice of model and digit, with one slider through the descents and one through the certified minima."""

    @cache
    def films(model: str, digit: int) -> str:
        G, x = generators[model], images[digit]
        decoded, losses, names = descents(G, x, ends[model].z[digit], seed + digit)
        fig, (ax,) = chart(1, 7.0, 1.8)
        ax.semilogy(losses, color=COLOURS["data"])
        ax.axvline(STEPS // EVERY, color=COLOURS["theory"], linewidth=0.6, linestyle=":")
        ax.set(xlabel="frame: gradient descent, then BFGS", ylabel="loss", xlim=(0, len(losses) - 0.5))
        curves = [(ax, range(len(losses)), row, COLOURS["theory"]) for row in losses.T]
        minima, facts = certified_minima(G, x, ends[model], digit)
        search = film_html({"images from several starts": decoded.squeeze(2)}, "frame", names, fig, curves, 100)
        return search + film_html({"test image, reconstruction, difference": minima}, "minimum", facts, side=100)

    names, models = [f"test image {k + 1}" for k in range(len(images))], list(generators)
    controls = choice("Model", models) + choice("Digit", names, images)
    return Player(controls, {"Model": 0, "Digit": 0}, lambda values: films(models[values["Model"]], values["Digit"]))


def find_paths(G: nn.Module, x_a: Tensor, x_b: Tensor, points: int) -> list[Tensor]:
    """Line, slerp, minimiser of U and pullback geodesic between the codes of two images: (points, d) each.

    They are faster to compute and less accurate than those of notebook 07: fewer points and evaluations.
    """
    z_a, z_b = invert(G, torch.stack([x_a, x_b])).best()
    least = paths.shortest_path(G, z_a, z_b, x_a, x_b, POINTS).path
    pullback = paths.pullback_geodesic(G, z_a, z_b, POINTS, EVALUATIONS).path
    found = [paths.constant_speed(path, torch.ones(POINTS - 1).to(path), points).to(z_a) for path in (least, pullback)]
    return [paths.linear_path(z_a, z_b, points), paths.slerp(z_a, z_b, points), *found]


@torch.no_grad()
def path_film(G: nn.Module, classifier: nn.Module, path: Tensor, x_a: Tensor, x_b: Tensor) -> str:
    """The images of a path (T, d) between its end images (1, 28, 28), with three curves and a text of their values."""
    images, t = G(path), torch.linspace(0, 1, len(path))
    cost = paths.image_cost(G, x_a, x_b)(path.unsqueeze(0))[0].cpu() / (0.5 * (x_a - x_b).square().sum().item())
    radius = path.norm(dim=1).cpu() / math.sqrt(path.shape[1])
    probability, digit = in_batches(classifier, images).softmax(1).cpu().max(1)
    fig, axes = chart(3, 3.6, 3.4)
    rows = {"$c$ / lower bound": cost, r"$\Vert Z\Vert/\sqrt{d}$": radius, "probability": probability}
    for ax, (label, values) in zip(axes, rows.items(), strict=True):
        ax.plot(t, values, color=COLOURS["data"])
        ax.set(ylabel=label, xlabel="$t$" if ax is axes[-1] else "", ylim=(0, 1.15 * max(1.0, values.max().item())))
    words = [
        f"t = {time:.2f}: cost c {c:.2f} × its lower bound, ‖Z‖ = {r:.2f} √d, classifier: {p:.0%} probability of a {k}"
        for time, c, r, p, k in zip(t, *rows.values(), digit, strict=True)
    ]
    strips = {"from": x_a.unsqueeze(0), "G(Z(t))": images, "to": x_b.unsqueeze(0)}
    curves = [(ax, t, values, COLOURS["theory"]) for ax, values in zip(axes, rows.values(), strict=True)]
    return film_html(strips, "t", words, fig, curves, 150)


def path_explorer(
    models: Sequence[str], load: Callable[[str], nn.Module], classifier: nn.Module, x_a: Tensor, x_b: Tensor,
    known: Mapping[str, Mapping[str, Tensor]],
) -> Player:  # fmt: skip
    """A choice of two of the images x_a, x_b (P, 1, 28, 28), a model and a kind of path, with a slider along the path.

    load: returns a generator by its name. known: for some models and each kind the paths (P, points, d) of the P pairs.
    Paths of other pairs are computed when a button is pressed, which takes a few seconds.
    """
    images, pairs, kinds = torch.cat([x_a, x_b]), len(x_a), list(next(iter(known.values())))
    found = {
        (model, p, pairs + p): [path[p] for path in routes.values()]
        for model, routes in known.items()
        for p in range(pairs)
    }
    points = len(next(iter(found.values()))[0])

    def chosen(values: dict) -> tuple[str, int, int]:
        return models[values["Model"]], values["From"], values["To"]

    def show(values: dict) -> str:
        model, a, b = chosen(values)
        routes = found.get((model, a, b)) or [path.flip(0) for path in found.get((model, b, a), [])]
        if a == b or not routes:
            return f"<p>{'Choose two different images.' if a == b else 'Not computed yet: press the button.'}</p>"
        return path_film(load(model), classifier, routes[values["Path"]], images[a], images[b])

    def compute(player: Player) -> None:
        model, a, b = chosen(player.values)
        if a != b and (model, a, b) not in found and (model, b, a) not in found:
            player.films = '<p role="status">Computing the four paths, which takes seconds …</p>'
            found[model, a, b] = find_paths(load(model), images[a], images[b], points)

    names = [f"image {k + 1}" for k in range(2 * pairs)]
    ends = choice("From", names, images) + choice("To", names, images)
    kinds = choice("Path", [kind.replace("$", "") for kind in kinds])
    controls = ends + choice("Model", models) + kinds + '<button type="button">Compute this pair</button>'
    return Player(controls, {"Model": 0, "Path": 0, "From": 0, "To": pairs}, show, compute)


def chart(rows: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches that a notebook does not display by itself, and its axes from top to bottom."""
    fig = Figure((width, height), layout="constrained")
    return fig, list(fig.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
