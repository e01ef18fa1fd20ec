"""Matrix products in reduced precision."""

import pytest
import torch

from helpers.device import device_name, products


def test_rounded_products_are_those_of_bfloat16():
    x, weight = torch.randn(7, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    layer = torch.nn.functional.linear
    with products(rounded=True):
        rounded = layer(x, weight)
    half = layer(x.bfloat16(), weight.bfloat16()).float()
    torch.testing.assert_close(rounded, half, rtol=2**-8, atol=1e-6)
    assert torch.equal(rounded, rounded.bfloat16().float()) and not torch.equal(rounded, layer(x, weight))
    slopes = torch.autograd.grad(rounded.square().sum(), (x, weight))
    expected = torch.autograd.grad(half.square().sum(), (x, weight))
    for slope, wanted in zip(slopes, expected, strict=True):
        assert torch.equal(slope, slope.bfloat16().float())
        torch.testing.assert_close(slope, wanted, rtol=2**-6, atol=1e-2)


@pytest.mark.parametrize("product", [lambda a, b: a @ b, torch.matmul, lambda a, b: a.matmul(b)])
def test_every_way_of_writing_a_product_is_rounded(product):
    a, b = torch.randn(2, 6, 6)
    with products(rounded=True):
        assert torch.equal(product(a, b), product(a.bfloat16().float(), b.bfloat16().float()).bfloat16().float())


def test_transposed_convolutions_are_rounded_and_other_functions_are_not():
    x, weight = torch.randn(1, 4, 5, 5), torch.randn(4, 2, 4, 4)
    with products(rounded=True):
        y, same = torch.nn.functional.conv_transpose2d(x, weight, None, 2, 1), torch.tanh(x)
    assert torch.equal(y, y.bfloat16().float()) and torch.equal(same, x.tanh())


def test_the_device_has_a_name():
    assert device_name()
