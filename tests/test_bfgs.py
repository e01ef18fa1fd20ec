"""BFGS in lockstep: quadratics, kinks, rows that do not disturb each other."""

import torch

from helpers import bfgs


def test_quadratics_are_solved_whatever_their_condition():
    torch.manual_seed(0)
    A = torch.diag(torch.logspace(-2, 2, 6, dtype=torch.float64)).repeat(4, 1, 1)
    b = torch.randn(4, 6, dtype=torch.float64)

    def look(z, rows):
        slope = (A[rows] @ z[..., None]).squeeze(-1) - b[rows]
        return 0.5 * (z * (slope - b[rows])).sum(1), slope

    z, _, spent = bfgs.minimise(look, torch.zeros(4, 6, dtype=torch.float64), 300)
    torch.testing.assert_close(z, torch.linalg.solve(A, b), rtol=1e-5, atol=1e-5)
    assert spent.max() < 300
    exact = bfgs.minimise(look, torch.zeros(4, 6, dtype=torch.float64), 300, torch.linalg.inv(A))
    assert exact[2].max() <= 4  # with the true inverse Hessian the first step arrives


def test_minimum_on_kinks_is_found_to_rounding():
    """f(z) = (z1 − 1)²/4 + |z2 − 2 z1² + 1|, whose minimum (1, 1) lies at the end of a curved kink."""

    def look(z, rows):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            value = (z[:, 0] - 1).square() / 4 + (z[:, 1] - 2 * z[:, 0].square() + 1).abs()
            (slope,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), slope

    start = torch.tensor([[0.3, 0.5], [1.5, 0.9], [-1.0, 1.3]], dtype=torch.float64)
    z, value, _ = bfgs.minimise(look, start, 3000, tolerance=0.0)
    assert value.max() < 1e-10 and (z - 1).norm(dim=1).max() < 1e-4


def test_problems_do_not_depend_on_their_neighbours():
    def look(z, rows):
        centre = rows[:, None].to(z)
        return (z - centre).pow(4).sum(1), 4 * (z - centre).pow(3)

    start = torch.full((5, 3), 7.0, dtype=torch.float64)
    together = bfgs.minimise(look, start, 60)[0]
    alone = bfgs.minimise(lambda z, rows: look(z, rows + 3), start[:1], 60)[0]
    torch.testing.assert_close(together[3], alone[0], rtol=0, atol=1e-12)


def test_value_returned_is_that_of_the_point():
    def look(z, rows):
        return z.cos().sum(1), -z.sin()

    z, value, _ = bfgs.minimise(look, torch.full((1, 2), 0.5, dtype=torch.float64), 40)
    torch.testing.assert_close(value, look(z, None)[0])
    torch.testing.assert_close(z.cos(), -torch.ones_like(z))
