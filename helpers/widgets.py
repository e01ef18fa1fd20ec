"""Explorers that follow the mouse: what they show was decoded before, or is decoded in one image's time."""

import io

import ipywidgets as widgets
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

ZOOM = 5  # screen pixels for each pixel of a digit


def png(image: Tensor) -> bytes:
    """An image (1, 28, 28) or (28, 28) in [−1, 1] as a PNG, ink dark, each pixel ZOOM × ZOOM: crisp in any browser."""
    ink = ((1 - image.detach().cpu().reshape(28, 28).clamp(-1, 1)) * 127.5).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(np.kron(ink, np.ones((ZOOM, ZOOM), dtype=np.uint8))).save(buffer, format="png")
    return buffer.getvalue()


def path_explorer(frames: dict[str, Tensor], x_a: Tensor, x_b: Tensor) -> widgets.VBox:
    """One slider through several paths at once, between the two images that they join; Play runs it.

    frames: for each kind of path its decoded images (T, 1, 28, 28), all of one T. x_a, x_b: (1, 28, 28).
    Each picture is one of a `Stack`, which the browser switches by itself: no kernel is asked, none is needed in HTML.
    Raises ValueError if the paths differ in length.
    """
    lengths = {len(images) for images in frames.values()}
    if len(lengths) != 1:
        raise ValueError(f"all paths need the same number of frames, not {sorted(lengths)}.")
    last = lengths.pop() - 1
    layout = widgets.Layout(width=f"{28 * ZOOM}px", height=f"{28 * ZOOM}px")  # one for all: hundreds are slow to open
    slider = widgets.IntSlider(
        value=0, min=0, max=last, description="Frame", continuous_update=True, layout=widgets.Layout(width="420px")
    )
    play = widgets.Play(value=0, min=0, max=last, interval=80, description="Play")
    stacks = {
        kind: widgets.Stack([widgets.Image(value=png(image), layout=layout) for image in images], selected_index=0)
        for kind, images in frames.items()
    }
    links = [widgets.jslink((play, "value"), (slider, "value"))]
    links += [widgets.jslink((slider, "value"), (stack, "selected_index")) for stack in stacks.values()]
    ends = [widgets.Image(value=png(x), layout=layout) for x in (x_a, x_b)]
    columns = [("from", ends[0]), *stacks.items(), ("to", ends[1])]
    row = widgets.HBox([widgets.VBox([widgets.Label(name), picture]) for name, picture in columns])
    explorer = widgets.VBox([row, widgets.HBox([play, slider])])
    explorer.slider, explorer.play, explorer.stacks, explorer.links = slider, play, stacks, links
    return explorer


def principal_directions(generator: nn.Module, z: Tensor, count: int) -> Tensor:
    """The `count` unit directions (count, d) at a code (d,) along which G's image changes most, the first the most.

    Right singular vectors of the Jacobian of G (784, d).
    """
    copies = z.expand(784, -1).clone().requires_grad_()
    with torch.enable_grad():  # row i of the batch yields pixel i's gradient
        (jacobian,) = torch.autograd.grad(generator(copies).flatten(1).diagonal().sum(), copies)
    return torch.linalg.svd(jacobian, full_matrices=False).Vh[:count]


def latent_explorer(generator: nn.Module, count: int = 6, reach: float = 3.0, seed: int = 0) -> widgets.HBox:
    """Sliders from −reach to reach along the `count` principal directions at a code, and a button for a new code.

    One `Image` changes its bytes. The sliders show no more than is asked of G: z + Σ value · direction.
    Raises ValueError if there are not so many directions.
    """
    if not 1 <= count <= generator.latent_dim:
        raise ValueError(f"count must be from 1 to {generator.latent_dim}, not {count}.")
    where = next(generator.parameters())
    rng = torch.Generator().manual_seed(seed)
    sliders = [
        widgets.FloatSlider(
            value=0.0, min=-reach, max=reach, step=0.05, description=f"Direction {k + 1}", continuous_update=True
        )
        for k in range(count)
    ]
    side = f"{56 * ZOOM}px"
    picture = widgets.Image(layout=widgets.Layout(width=side, height=side))
    button = widgets.Button(description="New sample", icon="refresh")
    explorer = widgets.HBox([picture, widgets.VBox([button, *sliders])])
    explorer.sliders, explorer.picture, explorer.button = sliders, picture, button

    @torch.no_grad()
    def show(_=None) -> None:
        shift = torch.tensor([slider.value for slider in sliders]).to(where) @ explorer.directions
        picture.value = png(generator((explorer.z + shift).unsqueeze(0))[0])

    def sample(_=None) -> None:
        explorer.z = torch.randn(generator.latent_dim, generator=rng).to(where)
        explorer.directions = principal_directions(generator, explorer.z, count)
        for slider in sliders:
            slider.unobserve(show, "value")  # else each reset would decode once more
            slider.value = 0.0
            slider.observe(show, "value")
        show()

    button.on_click(sample)
    sample()
    return explorer
