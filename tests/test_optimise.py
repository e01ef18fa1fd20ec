"""Quasi-Newton in lockstep: quadratics, kinks, problems that do not disturb each other."""

import pytest
import torch

from helpers.optimise import BFGS, LBFGS, minimise

HESSIANS = [
    pytest.param(lambda start: BFGS(), True, id="BFGS, weak Wolfe"),
    pytest.param(lambda start: LBFGS(torch.ones(len(start)).to(start), start.shape[1]), True, id="L-BFGS, weak Wolfe"),
    pytest.param(lambda start: LBFGS(torch.ones(len(start)).to(start), start.shape[1]), False, id="L-BFGS, Armijo"),
]


@pytest.mark.parametrize("hessian, wolfe", HESSIANS)
def test_quadratics_are_solved_whatever_their_condition(hessian, wolfe):
    torch.manual_seed(0)
    A = torch.diag(torch.logspace(-2, 2, 6, dtype=torch.float64)).repeat(4, 1, 1)
    b, start = torch.randn(4, 6, dtype=torch.float64), torch.zeros(4, 6, dtype=torch.float64)

    def f(z, rows):
        return ((A[rows] @ z[..., None]).squeeze(-1) / 2 - b[rows]).mul(z).sum(1)

    found = minimise(f, start, hessian(start), 300, 1e-15, wolfe)
    torch.testing.assert_close(found.x, torch.linalg.solve(A, b), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.value, f(found.x, torch.arange(4)))
    assert found.evaluations.max() < 300 and found.gradient.norm() < 1e-5
    assert minimise(f, start, BFGS(torch.linalg.inv(A)), 300, 1e-15).evaluations.max() <= 4  # the first step arrives
    assert (found.trace.diff(dim=0) <= 0).all() and torch.equal(found.trace[-1], found.value)


def test_minimum_on_kinks_is_found_to_rounding():
    """f(z) = (z1 − 1)²/4 + |z2 − 2 z1² + 1|, whose minimum (1, 1) lies at the end of a curved kink."""

    def f(z, rows):
        return (z[:, 0] - 1).square() / 4 + (z[:, 1] - 2 * z[:, 0].square() + 1).abs()

    start = torch.tensor([[0.3, 0.5], [1.5, 0.9], [-1.0, 1.3]], dtype=torch.float64)
    found = minimise(f, start, BFGS(), 3000, tolerance=0.0)
    assert found.value.max() < 1e-10 and (found.x - 1).norm(dim=1).max() < 1e-4


@pytest.mark.parametrize("hessian, wolfe", HESSIANS)
def test_problems_do_not_depend_on_their_neighbours(hessian, wolfe):
    def f(z, rows):
        return (z - rows[:, None]).pow(4).sum(1)

    start = torch.full((5, 3), 7.0, dtype=torch.float64)
    together = minimise(f, start, hessian(start), 60, 1e-15, wolfe).x
    alone = minimise(lambda z, rows: f(z, rows + 3), start[:1], hessian(start[:1]), 60, 1e-15, wolfe).x
    torch.testing.assert_close(together[3], alone[0], rtol=0, atol=1e-12)
