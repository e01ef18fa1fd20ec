"""Timing: the best of several runs, and the bytes that autograd keeps."""

import time

import pytest
import torch

from helpers import timing


def test_seconds_are_those_of_the_fastest_run():
    pauses = iter([0.2, 0.05, 0.2])
    assert 0.05 <= timing.seconds(lambda: time.sleep(next(pauses)), 3) < 0.2
    assert next(pauses, None) is None


def test_kept_bytes_count_each_tensor_once():
    x = torch.randn(100, requires_grad=True)
    assert timing.kept_bytes(lambda: x + 1) == 0
    assert timing.kept_bytes(lambda: x.square()) == 400
    assert timing.kept_bytes(lambda: x * x) == 400
    assert timing.kept_bytes(lambda: x.exp() * x) == pytest.approx(800)
