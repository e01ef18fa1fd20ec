"""β under the mouse: reconstructions, samples and the place on the rate-distortion curve, Gaussian beside echo."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as widgets
import torch
from torch import Tensor

from helpers.beta_vae import BetaVAE, EchoVAE
from helpers.figures import COLOURS
from helpers.frames import Frames, chart, digits, figure
from helpers.store import Trained
from helpers.widgets import frame_slider, player, titled

COLUMNS = 5  # test images shown


@torch.no_grad()
def look(model: BetaVAE, x: Tensor, seed: int) -> Tensor:
    """For each member test images, their reconstructions and two rows of samples: (K, 4 · COLUMNS, 784) in [−1, 1].

    x: (N, 784) in [0, 1] with N ≥ 3 · COLUMNS. Gaussian samples are decoded from the prior; an echo's marginal is that
    of codes of random data, so its samples are decoded from codes of other images.
    """
    rng = torch.Generator(x.device).manual_seed(seed)
    decoded = model.decode(model.sample(*model.encode(x), rng))[:, : 3 * COLUMNS]
    if not isinstance(model, EchoVAE):
        prior = torch.randn(2 * COLUMNS, model.config.latent_dim, generator=rng, device=x.device)
        decoded[:, COLUMNS:] = model.decode(prior.expand(len(decoded), -1, -1))
    return 2 * torch.cat([x[:COLUMNS].expand(len(decoded), -1, -1), decoded], 1) - 1


@dataclass
class BetaFrames:
    """What one slider over all β of some sweeps shows; at a β that a sweep lacks it stays at its nearest and says so.

    members: for each noise the member at each β. pictures: for each noise (T, 4, COLUMNS, 28, 28) in [−1, 1], rows
    as of `look`. words: at each β, R and D of all noises.
    """

    betas: list[float]
    members: dict[str, list[int]]
    pictures: dict[str, Tensor]
    words: list[str]


def beta_frames(sweeps: Mapping[str, Trained], x: Tensor, seed: int = 0) -> BetaFrames:
    """The frames of some sweeps by their noise, "gaussian" or "echo", with networks kept.

    x: (N, 784) in [0, 1], N of some hundreds: an echo comes from the batch. Raises ValueError if a sweep has kept its
    scores alone.
    """
    if any("autoencoders" not in run.modules for run in sweeps.values()):
        raise ValueError("a sweep without its networks can show no images: choose one that keeps them.")
    listed = {noise: run.record["config"]["betas"] for noise, run in sweeps.items()}
    betas = sorted({beta for own in listed.values() for beta in own})
    members, pictures, words = {}, {}, []
    for noise, run in sweeps.items():
        own = [min(range(len(listed[noise])), key=lambda k: abs(listed[noise][k] / beta - 1)) for beta in betas]
        rate, error = run.modules["scores"].rate.tolist(), run.modules["scores"].distortion.tolist()
        shown = look(run.modules["autoencoders"], x, seed)[own]
        members[noise], pictures[noise] = own, shown.unflatten(1, (4, COLUMNS)).unflatten(3, (28, 28))
        near = ["" if listed[noise][k] == beta else "nearest " for k, beta in zip(own, betas, strict=True)]
        said = [f"β = {listed[noise][k]:.3g}, R = {rate[k]:.1f}, D = {error[k]:.1f}" for k in own]
        words.append([f"{noise.replace('g', 'G')}: {note}{text}" for note, text in zip(near, said, strict=True)])
    return BetaFrames(betas, members, pictures, ["   |   ".join(parts) for parts in zip(*words, strict=True)])


def beta_explorer(sweeps: Mapping[str, Trained], frames: BetaFrames) -> widgets.VBox:
    """One slider over the frames, beside them the sweeps' rate-distortion curves with moving points."""
    slider = frame_slider(len(frames.betas), "β")
    slider.readout = False
    fig, (ax,) = figure(1, 3.0, 2.6)
    points = []
    for noise, run in sweeps.items():
        scores, own = run.modules["scores"], frames.members[noise]
        rate, error = scores.rate.cpu().numpy(), scores.distortion.cpu().numpy()
        ax.plot(rate, error, color=COLOURS[noise], label=noise.replace("g", "G"))
        points.append((ax, rate[own], error[own], COLOURS[noise]))
    ax.set(xlabel="rate (nats)", ylabel="squared error", xlim=(0, None), ylim=(0, 1.1 * ax.dataLim.y1))
    ax.legend()
    shown, curve = digits(4, COLUMNS * len(sweeps), 2, slider), chart(3.0, 2.6, slider)
    shown.show(torch.cat(list(frames.pictures.values()), 2).flatten(1, 2), COLUMNS * len(sweeps))
    curve.plot(fig, points)
    label = Frames(slider=slider, words=frames.words)
    tall = widgets.Layout(height="56px")
    names = widgets.VBox([widgets.Label(name, layout=tall) for name in ("test images", "rebuilt", "samples")])
    half = widgets.Layout(width=f"{56 * COLUMNS}px")
    heads = widgets.HBox([widgets.Label(noise.replace("g", "G"), layout=half) for noise in sweeps])
    rows = [titled("", names), widgets.VBox([heads, shown]), curve], [player(slider, 600), slider], [label]
    explorer = widgets.VBox([widgets.HBox(row) for row in rows])
    explorer.slider, explorer.picture, explorer.chart, explorer.words = slider, shown, curve, label
    return explorer
