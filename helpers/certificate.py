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
    axes: Tensor  # (d − kinks, d): their eigenvectors
    normals: Tensor  # (kinks, d): the unit normals of the kinks

    @property
    def kind(self) -> str:
        """One of KINDS."""
        lowest = self.curvatures[0].item() if len(self.curvatures) else torch.inf
        if not (self.residual < 1e-6 and self.margin > 0 and self.output_gradient > 0 and lowest > -1e-3):
            return "not converged"
        if lowest < 1e-3:
            return "flat valley"
        return "kink minimum" if self.kinks else "smooth minimum"


def certify(generator: nn.Module, image: Tensor, z: Tensor, prior: float = 0.0) -> Certificate:
    """Test whether a code z (d,) is a certified local minimum for an image (D,), both in double precision.

    The generator is one whose `net` is a sequence of affine layers and LeakyReLUs of one slope that ends in a tanh.
    Units whose input is within `width` of 0 are taken to be at their kink. With too few or too many units the
    conditions fail, so several widths are tried; a certificate is valid whatever was tried before.
    """
    for width in (1e-7, 1e-5, 1e-4, 1e-3):
        found = newton(generator, image, z, prior, width)
        if found.kind != "not converged":
            break
    return found


def forward_with_slopes(
    generator: nn.Module, z: Tensor, slopes: Tensor | None = None, extra: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes z (n, d) to the inputs of all LeakyReLUs (n, K), the slopes they take (n, K), and the tanh's input (n, D).

    slopes (K,): a fixed factor for the input of each unit, in place of the LeakyReLU; extra (K,): added to its output.
    """
    inputs, taken = [], []
    h = z
    place = 0  # of the next unit among all K
    for layer in generator.net:
        if isinstance(layer, nn.Tanh):
            break
        if not isinstance(layer, nn.LeakyReLU):
            h = layer(h)
            continue
        here = slice(place, place + h[0].numel())
        shape = h.shape[1:]
        slope = torch.where(h > 0, torch.ones_like(h), layer.negative_slope)
        if slopes is not None:
            slope = slopes[here].view(shape).expand_as(h)
        inputs.append(h.flatten(1))
        taken.append(slope.flatten(1))
        h = slope * h
        if extra is not None:
            h = h + extra[here].view(shape)
        place = here.stop
    return torch.cat(inputs, 1), torch.cat(taken, 1), h.flatten(1)


@dataclass(frozen=True)
class AffinePiece:
    """The generator with fixed slopes, where all is affine up to the tanh."""

    A: Tensor  # (K, d) and a (K,): the units' inputs are A z + a
    a: Tensor
    B: Tensor  # (D, d) and b (D,): the tanh's input is B z + b
    b: Tensor


def affine_piece(generator: nn.Module, slopes: Tensor, z: Tensor) -> AffinePiece:
    """The affine maps of the generator with slopes (K,), read off d + 1 codes of the type of z (d,)."""
    codes = torch.cat([torch.zeros_like(z)[None], torch.eye(len(z)).to(z)])
    inputs, _, logits = forward_with_slopes(generator, codes, slopes)
    return AffinePiece((inputs[1:] - inputs[0]).T, inputs[0], (logits[1:] - logits[0]).T, logits[0])


@dataclass(frozen=True)
class Expansion:
    """The loss f_s with fixed slopes at a code."""

    loss: Tensor  # ()
    gradient: Tensor  # (d,)
    hessian: Tensor  # (d, d)


def expand(piece: AffinePiece, x: Tensor, z: Tensor, prior: float) -> Expansion:
    """‖tanh(B z + b) − x‖² + prior ‖z‖² with its gradient and Hessian in z (d,)."""
    B = piece.B
    y = torch.tanh(B @ z + piece.b)
    r = y - x
    t = 1 - y.square()  # the tanh's slope
    loss = r @ r + prior * z @ z
    gradient = 2 * B.T @ (t * r) + 2 * prior * z
    hessian = 2 * B.T @ ((t * (t - 2 * r * y))[:, None] * B) + 2 * prior * torch.eye(len(z)).to(z)
    return Expansion(loss, gradient, hessian)


def newton(generator: nn.Module, x: Tensor, z: Tensor, prior: float, width: float, iterations: int = 5) -> Certificate:
    """Solve ∇f_s(z) = 0 and a_i(z) = 0 for the code and the slopes s of the units i that lie on their kink.

    image x (D,) and code z (d,), both in double precision. A unit lies on its kink where its input is within `width`
    of 0, in units of the code. Returns the certificate of the last code.
    """
    _, taken, _ = forward_with_slopes(generator, z[None])
    slopes = taken[0].clone()  # (K,)
    piece = affine_piece(generator, slopes, z)
    at_kink = (piece.A @ z + piece.a).abs() <= width * piece.A.norm(dim=1)
    for _ in range(iterations):
        here = expand(piece, x, z, prior)
        if at_kink.sum() > len(z) or not here.hessian.isfinite().all():
            break
        p = output_gradient(generator, x, z, slopes)[at_kink]
        step = newton_step(here, piece.A[at_kink], piece.a[at_kink], z)
        z = z + step[: len(z)]
        slopes[at_kink] = slopes[at_kink] + step[len(z) :] / p
        piece = affine_piece(generator, slopes, z)
    return certificate_at(generator, x, z, slopes, at_kink, piece, prior)


def newton_step(here: Expansion, A: Tensor, a: Tensor, z: Tensor) -> Tensor:
    """The step (d + k,) of the code z (d,) and of k multipliers to the minimum of the expansion where A z + a = 0 (k,).

    The multiplier of a unit is the change of its slope times the derivative with respect to its output.
    """
    k = len(A)
    kkt = torch.cat([torch.cat([here.hessian, A.T], 1), torch.cat([A, A.new_zeros(k, k)], 1)])
    rhs = -torch.cat([here.gradient, A @ z + a])
    # kkt may be singular, and on a GPU torch solves only systems of full rank
    return torch.linalg.lstsq(kkt.cpu(), rhs[:, None].cpu(), driver="gelsd").solution[:, 0].to(z)


def certificate_at(
    generator: nn.Module, x: Tensor, z: Tensor, slopes: Tensor, at_kink: Tensor, piece: AffinePiece, prior: float
) -> Certificate:
    """The certificate of a code z (d,) with slopes (K,), of which those `at_kink` (K,) were free."""
    here = expand(piece, x, z, prior)
    loss = here.loss
    k = int(at_kink.sum())
    inputs, taken, _ = forward_with_slopes(generator, z[None])
    on_kinks = (inputs[0][at_kink].abs() < 1e-9 * z.norm()).all()
    same_piece = on_kinks and torch.equal(slopes[~at_kink], taken[0][~at_kink])
    margin, smallest_output_gradient = torch.inf, torch.inf
    frame = torch.eye(len(z)).to(z)
    if k:
        leak = next(layer.negative_slope for layer in generator.net if isinstance(layer, nn.LeakyReLU))
        margin = torch.stack([slopes[at_kink] - leak, 1 - slopes[at_kink]]).min().item()
        smallest_output_gradient = (output_gradient(generator, x, z, slopes)[at_kink].min() / loss).item()
        frame = torch.linalg.qr(piece.A[at_kink].T, mode="complete").Q[:, k:]
    hessian = torch.where(here.hessian.isfinite(), here.hessian, 0.0)
    curvatures, vectors = torch.linalg.eigh(frame.T @ hessian @ frame)
    return Certificate(
        z=z,
        loss=loss.item(),
        kinks=k,
        residual=(here.gradient.norm() * z.norm() / loss).item() if same_piece else torch.inf,
        margin=margin,
        output_gradient=smallest_output_gradient,
        curvatures=curvatures * z.norm() ** 2 / loss,
        axes=(frame @ vectors).T,
        normals=torch.nn.functional.normalize(piece.A[at_kink], dim=1),
    )


@torch.enable_grad()
def output_gradient(generator: nn.Module, x: Tensor, z: Tensor, slopes: Tensor) -> Tensor:
    """The derivatives ∂f_s/∂h (K,) with respect to the output h of each unit."""
    extra = torch.zeros_like(slopes).requires_grad_()
    _, _, logits = forward_with_slopes(generator, z[None], slopes, extra)
    loss = (torch.tanh(logits[0]) - x).square().sum()
    return torch.autograd.grad(loss, extra)[0]
