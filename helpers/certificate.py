"""Numerical certificates that a code is a local minimum of ‖G(z) − x‖², possibly on kinks of a LeakyReLU generator.

Notebook 06 states the conditions and why they suffice. They are checked in float64 to the tolerances of `kind`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

KINDS = ("smooth minimum", "kink minimum", "flat valley", "not converged")


@dataclass(frozen=True)
class Certificate:
    """The quantities computed for one code, in units in which ‖z‖ = 1 and f(z) = 1 (but z and loss as they are)."""

    z: Tensor  # (d,): the code, moved to the minimum within the kinks' intersection
    loss: float  # f(z) = ‖G(z) − x‖² + prior ‖z‖²
    kinks: int  # how many units are at their kink
    residual: float  # ‖∇f_s‖, where f_s replaces each of these kinks by a fixed slope s
    margin: float  # the smallest distance of a slope s from the ends of its interval; inf if there are no kinks
    output_gradient: float  # the smallest ∂f_s/∂h over the outputs h of units at their kink; inf if there are none
    curvatures: Tensor  # (d − kinks,): eigenvalues of f_s's Hessian within the kinks' intersection, ascending

    @property
    def kind(self) -> str:
        """One of KINDS."""
        lowest = self.curvatures[0].item() if len(self.curvatures) else torch.inf
        if not (self.residual < 1e-6 and self.margin > 0 and self.output_gradient > 0 and lowest > -1e-3):
            return "not converged"
        return "flat valley" if lowest < 1e-3 else "kink minimum" if self.kinks else "smooth minimum"


def certify(generator: nn.Module, image: Tensor, z: Tensor, prior: float = 0.0) -> Certificate:
    """Test whether a code z (d,) is a certified local minimum for an image (D,), both in double precision.

    Units whose input is within `width` of 0 are taken to be at their kink. With too few or too many units the
    conditions fail, so several widths are tried; a certificate is valid whatever was tried before.
    """
    for width in (1e-7, 1e-5, 1e-4, 1e-3):
        found = newton(generator, image, z, prior, width)
        if found.kind != "not converged":
            break
    return found


def decode(generator: nn.Module, z: Tensor, slopes: Tensor | None = None, extra: Tensor | None = None) -> list[Tensor]:
    """Codes z (n, d) to the inputs of all LeakyReLUs (n, K), the slopes they take (n, K), and the tanh's input (n, D).

    slopes (K,): a fixed factor for the input of each unit, in place of the LeakyReLU; extra (K,): added to its output.
    """
    inputs, taken, h, place = [], [], z, 0
    for layer in generator.net:
        if isinstance(layer, nn.Tanh):
            break
        if not isinstance(layer, nn.LeakyReLU):
            h = layer(h)
            continue
        here, shape = slice(place, place + h[0].numel()), h.shape[1:]
        leaky = torch.where(h > 0, torch.ones_like(h), layer.negative_slope)
        slope = leaky if slopes is None else slopes[here].view(shape).expand_as(h)
        inputs.append(h.flatten(1))
        taken.append(slope.flatten(1))
        h = slope * h if extra is None else slope * h + extra[here].view(shape)
        place = here.stop
    return [torch.cat(inputs, 1), torch.cat(taken, 1), h.flatten(1)]


def newton(generator: nn.Module, x: Tensor, z: Tensor, prior: float, width: float, iterations: int = 5) -> Certificate:
    """Solve ∇f_s(z) = 0 and a_i(z) = 0 for the code and the slopes s of the units i that lie on their kink."""
    slopes, eye = decode(generator, z[None])[1][0], torch.eye(len(z)).to(z)
    for iteration in range(iterations + 1):
        # with the slopes fixed all is affine: units' inputs A z + a, the tanh's input B z + b, read off d + 1 codes
        inputs, _, logits = decode(generator, torch.cat([torch.zeros_like(z)[None], eye]), slopes)
        A, a, B, b = (inputs[1:] - inputs[0]).T, inputs[0], (logits[1:] - logits[0]).T, logits[0]
        if iteration == 0:
            at_kink = (A @ z + a).abs() <= width * A.norm(dim=1)
            z, slopes, k = z.clone(), slopes.clone(), int(at_kink.sum())
        y = torch.tanh(B @ z + b)
        r, t = y - x, 1 - y.square()  # residual and the tanh's slope
        loss = r @ r + prior * z @ z
        gradient = 2 * B.T @ (t * r) + 2 * prior * z
        H = 2 * B.T @ ((t * (t - 2 * r * y))[:, None] * B) + 2 * prior * eye
        p = output_gradient(generator, x, z, slopes)[at_kink]
        if iteration == iterations or k > len(z) or not H.isfinite().all():
            break
        kkt = torch.cat([torch.cat([H, A[at_kink].T], 1), torch.cat([A[at_kink], A.new_zeros(k, k)], 1)])
        rhs = -torch.cat([gradient, A[at_kink] @ z + a[at_kink]])
        # kkt may be singular, and on a GPU torch solves only systems of full rank
        step = torch.linalg.lstsq(kkt.cpu(), rhs[:, None].cpu(), driver="gelsd").solution[:, 0].to(z)
        z, slopes[at_kink] = z + step[: len(z)], slopes[at_kink] + step[len(z) :] / p

    inputs, taken, _ = (part[0] for part in decode(generator, z[None]))
    same_piece = torch.equal(slopes[~at_kink], taken[~at_kink]) and (inputs[at_kink].abs() < 1e-9 * z.norm()).all()
    leak = next(layer.negative_slope for layer in generator.net if isinstance(layer, nn.LeakyReLU))
    frame = torch.linalg.qr(A[at_kink].T, mode="complete").Q[:, k:] if k else eye
    return Certificate(
        z=z,
        loss=loss.item(),
        kinks=k,
        residual=(gradient.norm() * z.norm() / loss).item() if same_piece else torch.inf,
        margin=torch.stack([slopes[at_kink] - leak, 1 - slopes[at_kink]]).min().item() if k else torch.inf,
        output_gradient=(p.min() / loss).item() if k else torch.inf,
        curvatures=torch.linalg.eigvalsh(frame.T @ torch.where(H.isfinite(), H, 0.0) @ frame) * z.norm() ** 2 / loss,
    )


@torch.enable_grad()
def output_gradient(generator: nn.Module, x: Tensor, z: Tensor, slopes: Tensor) -> Tensor:
    """The derivatives ∂f_s/∂h (K,) with respect to the output h of each unit."""
    extra = torch.zeros_like(slopes).requires_grad_()
    loss = (torch.tanh(decode(generator, z[None], slopes, extra)[2][0]) - x).square().sum()
    return torch.autograd.grad(loss, extra)[0]
