"""The films of notebooks 03, 06 and 07: β, the descents of an inversion, its minima, and paths between two images."""

import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers import paths
from helpers.beta_vae import BetaVAE, EchoVAE
from helpers.certificate import KINDS
from helpers.compute import in_batches
from helpers.inversion import STEPS, gradient_descent, quasi_newton, starts
from helpers.minima import EndPoints
from helpers.show.figures import COLOURS
from helpers.show.strips import Curve, Film
from helpers.store import Trained

COLUMNS = 5  # test images shown for each β
EVERY, BUDGETS = 8, (5, 10, 20, 40, 80)  # steps of gradient descent, evaluations of BFGS, between the frames


def beta_frames(
    sweeps: Mapping[str, Trained], x: Tensor, seed: int = 0
) -> tuple[list[float], dict[str, list[int]], dict[str, Tensor], list[str]]:
    """All β of some sweeps; for each type of noise the model nearest to each β and its images; and the text at each β.

    The weights must be in the store. x: (N, 784) in [0, 1]. Images: (T, 4, COLUMNS, 28, 28), see the next function.
    """
    listed = {noise: run.record["config"]["betas"] for noise, run in sweeps.items()}
    betas = sorted(set().union(*listed.values()))
    members = {noise: [nearest(own, beta) for beta in betas] for noise, own in listed.items()}
    pictures = {}
    for noise, run in sweeps.items():
        images = reconstruct_and_sample(run.modules["autoencoders"], x, seed)  # (K, 4, COLUMNS, 28, 28)
        pictures[noise] = images[members[noise]]
    texts = []
    for place, beta in enumerate(betas):
        parts = [beta_text(noise, run, members[noise][place], beta) for noise, run in sweeps.items()]
        texts.append("   |   ".join(parts))
    return betas, members, pictures, texts


def nearest(own: Sequence[float], beta: float) -> int:
    """The place among a sweep's own β of the one whose ratio to `beta` is nearest to 1."""
    distances = [abs(candidate / beta - 1) for candidate in own]
    return distances.index(min(distances))


def beta_text(noise: str, run: Trained, k: int, beta: float) -> str:
    """Rate and distortion of the k-th model of a sweep, which is shown at `beta`."""
    own, scores = run.record["config"]["betas"][k], run.modules["scores"]
    which = "β" if own == beta else "nearest β"
    rate, distortion = scores.rate[k], scores.distortion[k]
    return f"{noise.replace('g', 'G')}: {which} = {own:.3g}, R = {rate:.1f}, D = {distortion:.1f}"


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


def descents(G: nn.Module, x: Tensor, ends: Tensor, seed: int, restarts: int = 6) -> tuple[Tensor, Tensor, list[str]]:
    """How the first starts of `inversion.invert` converge to their end points (starts, d), for one image x (1, 28, 28).

    Returns images (T, restarts, 1, 28, 28), losses (T, restarts) and a text for each frame. The steps of gradient
    descent are recorded as it runs. BFGS starts from its result, with one run for each number of evaluations.
    """
    restarts_of_all, latent_dim = ends.shape
    drawn = starts(1, restarts_of_all, latent_dim, seed)[0]  # all of them, as another number draws other codes
    start = drawn[:restarts].to(ends)  # (restarts, d)
    targets = x.flatten().expand(len(start), -1)  # (restarts, 784)
    visited = []  # the codes (restarts, d) before each step

    def recorded(z: Tensor) -> Tensor:  # the descent decodes its codes once in each step, and shows them nowhere else
        visited.append(z.detach().clone())
        return G(z)

    landed = gradient_descent(recorded, targets, start, STEPS)
    polished = [quasi_newton(G, targets, landed, budget) for budget in BUDGETS]
    codes = [*[*visited, landed][::EVERY], *polished, ends[:restarts]]
    texts = [f"gradient descent, step {step}" for step in range(0, STEPS + 1, EVERY)]
    texts += [f"BFGS, {budget} evaluations" for budget in BUDGETS]
    texts.append("end points")
    with torch.no_grad():
        decoded = torch.stack([G(z) for z in codes])  # (T, restarts, 1, 28, 28)
    losses = (decoded - x).square().flatten(2).sum(2)
    return decoded, losses.cpu(), texts


def milestones(texts: Sequence[str]) -> tuple[list[int], list[str], dict[int, str]]:
    """For a printed sheet of `descents`: which frames it shows, the number of each, and headings by column.

    Of gradient descent these are the frames 0, 1, 2, 4, 8, … and its last one.
    """
    last_step = sum(words.startswith("gradient descent") for words in texts) - 1
    doubling = sorted({0, *(2**k for k in range(last_step.bit_length())), last_step})
    shown = [*doubling, *range(last_step + 1, len(texts) - 1, 2), len(texts) - 1]
    numbers = ["".join(filter(str.isdigit, texts[k])) or "end" for k in shown]
    headings = {0: "gradient descent, steps", len(doubling): "BFGS, evaluations", len(shown): " loss"}
    return shown, numbers, headings


def descent_film(G: nn.Module, x: Tensor, ends: Tensor, seed: int) -> Film:
    """The film of `descents`, with the losses as curves; a line marks where BFGS begins."""
    decoded, losses, texts = descents(G, x, ends, seed)
    fig, (ax,) = chart(1, 7.0, 1.8)
    ax.semilogy(losses, color=COLOURS["data"])
    ax.axvline(STEPS // EVERY, color=COLOURS["theory"], linewidth=0.6, linestyle=":")
    ax.set(xlabel="frame: gradient descent, then BFGS", ylabel="loss", xlim=(0, len(losses) - 0.5))
    curves = [(ax, range(len(losses)), row, COLOURS["theory"]) for row in losses.T]
    return Film({"images from several starts": decoded.squeeze(2)}, "frame", texts, fig, curves, side=100)


@torch.no_grad()
def certified_minima(G: nn.Module, x: Tensor, ends: EndPoints, image: int) -> tuple[Tensor, list[str]]:
    """Test image, reconstruction, difference of each certified minimum (M, 3, h, w), lowest loss first, with texts.

    ends: of several images, of which those of the given one are used.
    """
    certified = [k for k in ends.loss[image].argsort().tolist() if ends.kind[image, k] < 2]
    if not certified:
        return torch.stack([x, -torch.ones_like(x), -torch.ones_like(x)], 1), ["no end point is certified"]
    decoded = G(ends.z[image, certified])
    texts = [
        f"{n} of {len(certified)}: {KINDS[int(ends.kind[image, k])]}, {ends.kinks[image, k]:.0f} units at their kink, "
        f"loss {ends.loss[image, k]:.2f}, ‖z‖ = {ends.z[image, k].norm():.1f}, "
        f"remaining gradient {ends.residual[image, k]:.0e}"
        for n, k in enumerate(certified, 1)
    ]
    return torch.cat([x.expand_as(decoded), decoded, (decoded - x).abs() - 1], 1), texts


def minima_film(G: nn.Module, x: Tensor, ends: EndPoints, image: int) -> Film:
    """The film of `certified_minima`, from the one with the lowest loss."""
    pictures, texts = certified_minima(G, x, ends, image)
    return Film({"test image, reconstruction, difference": pictures}, "minimum", texts, side=100, first=0)


@torch.no_grad()
def path_film(G: nn.Module, classifier: nn.Module, path: Tensor, x_a: Tensor, x_b: Tensor) -> Film:
    """The images of a path (T, d) between its end images (1, h, w), with four curves and a text of their values."""
    images, t = G(path), torch.linspace(0, 1, len(path))
    bound = 0.5 * (x_a - x_b).square().sum().item()  # of c
    cost = paths.image_cost(G, x_a, x_b)(path.unsqueeze(0))[0].cpu() / bound
    U, so_far = energy_so_far(G, path, x_a, x_b)
    rho = U / (bound * (path[0] - path[-1]).square().sum().item())
    radius = path.norm(dim=1).cpu() / math.sqrt(path.shape[1])
    probability, digit = in_batches(classifier, images).softmax(1).cpu().max(1)
    values = {"$c$ / lower bound": cost, "energy so far / $U$": so_far}
    values |= {r"$\Vert Z\Vert/\sqrt{d}$": radius, "probability": probability}
    texts = [
        f"t = {time:.2f}: {share:.0%} of the energy so far (U = {U:,.0f}, ρ = {rho:.2f}), cost c {c:.2f} × its lower "
        f"bound, ‖Z‖ = {r:.2f} √d, classifier: {p:.0%} probability of a {k}"
        for time, share, c, r, p, k in zip(t, so_far, cost, radius, probability, digit, strict=True)
    ]
    strips = {"from": x_a.unsqueeze(0), "G(Z(t))": images, "to": x_b.unsqueeze(0)}
    return Film(strips, "t", texts, *path_curves(t, values), side=100)


def energy_so_far(G: nn.Module, path: Tensor, x_a: Tensor, x_b: Tensor) -> tuple[float, Tensor]:
    """U of a path (T, d), and the share of it that lies before each of its points, ∫₀ᵗ c‖Ż‖² dt / U: (T,)."""
    density = paths.conformal_density(paths.image_cost(G, x_a, x_b), path.double().unsqueeze(0))[0].cpu()
    passed = nn.functional.pad(density.cumsum(0), (1, 0))
    return density.mean().item(), passed / passed[-1].clamp_min(1e-300)


def path_curves(t: Tensor, values: Mapping[str, Tensor]) -> tuple[Figure, list[Curve]]:
    """Values along a path, one below the other, and the points on them."""
    fig, axes = chart(len(values), 3.6, 1.1 * len(values))
    curves = []
    for ax, (label, heights) in zip(axes, values.items(), strict=True):
        ax.plot(t, heights, color=COLOURS["data"])
        ax.set(ylabel=label, ylim=(0, 1.15 * max(1.0, heights.max().item())))
        curves.append((ax, t, heights, COLOURS["theory"]))
    axes[-1].set_xlabel("$t$")
    return fig, curves


@torch.no_grad()
def direction_film(G: nn.Module, z: Tensor, directions: Tensor, limit: float, frames: int = 13) -> Film:
    """The images along each of the directions (count, d) through one code z (d,), from −limit to limit."""
    steps = torch.linspace(-limit, limit, frames).to(z)
    strips = {f"direction {k}": G(z + steps[:, None] * v) for k, v in enumerate(directions, 1)}
    texts = [f"step {step:+.1f}" for step in steps.tolist()]
    return Film(strips, "step", texts, first=frames - 3)  # in the middle all show the same image


def chart(rows: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches that a notebook does not display by itself, and its axes from top to bottom."""
    fig = Figure((width, height), layout="constrained")
    return fig, list(fig.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
