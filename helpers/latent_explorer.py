"""A walk in latent space under the mouse: one image, and sliders along the directions that change it most."""

import ipywidgets as widgets
import torch
import traitlets
from torch import Tensor, nn
from torch.func import jacfwd

from helpers.compute import one_thread
from helpers.frames import digits
from helpers.widgets import thumbnails, titled

GRID = 16  # samples to click on


class QuietSlider(widgets.FloatSlider):
    """A slider whose moves the kernel does not send back to the page: that would only delay the picture."""

    value = traitlets.CFloat(0.0).tag(sync=True, echo_update=False)


def principal_directions(generator: nn.Module, z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` unit directions (count, d) at a code (d,) along which G's image changes fastest, and how fast.

    Right singular vectors and singular values (count,) of the Jacobian of G (784, d), the largest first.
    """
    jacobian = jacfwd(lambda code: generator(code.unsqueeze(0)).flatten())(z)
    _, values, directions = torch.linalg.svd(jacobian, full_matrices=False)
    return directions[:count], values[:count]


@torch.no_grad()
def walks(generator: nn.Module, z: Tensor, count: int, steps: Tensor) -> Tensor:
    """Images (T, N, count, 28, 28) at z + step · direction: codes z (N, d), each with its principal directions."""
    images = []
    for code in z:
        moved = code + steps.to(z)[:, None, None] * principal_directions(generator, code, count)[0]
        images.append(generator(moved.flatten(0, 1)).reshape(len(steps), count, 28, 28))
    return torch.stack(images, 1)


def latent_explorer(generator: nn.Module, count: int = 6, reach: float = 3.0, seed: int = 0) -> widgets.HBox:
    """Sliders from −reach to reach along the `count` principal directions at a code, and two ways to another code.

    A button draws a new one, and a click on one of a grid of samples takes that image's. Only the kernel can decode,
    so each move asks it for 28 x 28 grey values.
    The sliders show no more than is asked of G: z + Σ value · direction.
    Raises ValueError if there are not so many directions.
    """
    if not 1 <= count <= generator.latent_dim:
        raise ValueError(f"count must be from 1 to {generator.latent_dim}, not {count}.")
    where = next(generator.parameters())
    rng = torch.Generator().manual_seed(seed)
    sliders = [
        QuietSlider(
            value=0.0, min=-reach, max=reach, step=0.05, description=f"Direction {k + 1}", continuous_update=True
        )
        for k in range(count)
    ]
    shown = digits(zoom=10)
    button = widgets.Button(description="New sample", icon="refresh")

    def draw(number: int) -> Tensor:
        return torch.randn(number, generator.latent_dim, generator=rng).to(where)

    @torch.no_grad()
    def show(_=None) -> None:
        shift = torch.tensor([slider.value for slider in sliders]).to(where) @ explorer.directions
        with one_thread():
            shown.show(generator((explorer.z + shift).unsqueeze(0)))

    def go(z: Tensor, number: int | None = None) -> None:
        """Make z the code, the origin of all sliders; number: that of its image in the grid."""
        explorer.z, explorer.directions = z, principal_directions(generator, z, count)[0]
        grid.mark(number)
        for slider in sliders:
            slider.unobserve(show, "value")  # else each reset would decode once more
            slider.value = 0.0
            slider.observe(show, "value")
        show()

    codes = draw(GRID)
    with torch.no_grad():
        samples = generator(codes)
    names = [f"sample {k + 1}" for k in range(GRID)]
    grid = thumbnails(samples, names, lambda number: go(codes[number], number), columns=4, side=44)
    explorer = widgets.HBox([shown, widgets.VBox([button, *sliders]), titled("Click one to start from it", grid)])
    explorer.sliders, explorer.picture, explorer.button, explorer.grid = sliders, shown, button, grid
    button.on_click(lambda _: go(draw(1)[0]))
    go(codes[0], 0)
    return explorer
