"""Threads, timing, the bytes that autograd keeps, and refusals of numbers that make no sense."""

import math
import time

import numpy as np
import pytest
import torch

from helpers import compute


def test_one_thread_restores_the_number_of_threads():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), compute.one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_times_are_those_of_all_runs():
    pauses = iter([0.05, 0.01])
    first, second = compute.times(lambda: time.sleep(next(pauses)), 2)
    assert first >= 0.05 and second >= 0.01 and next(pauses, None) is None


@pytest.mark.parametrize("value", [-1, 0, 1.5, 2.0, "two", None, True, math.nan, [3]])
def test_counts_that_make_no_sense_are_refused(value):
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1, not "):
        compute.require_count(images=20, epochs=value)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "fast", None, True, [0.1]])
def test_numbers_that_make_no_sense_are_refused(value):
    with pytest.raises(ValueError, match="rate must be a number of at least 0, not "):
        compute.require_nonnegative(weight=0, rate=value)


def test_every_integral_and_real_type_is_accepted():
    compute.require_count(a=1, b=np.int64(20), c=np.uint8(3))
    compute.require_count(minimum=0, seed=np.int32(0))
    compute.require_nonnegative(a=0, b=0.5, c=np.float32(2), d=np.int64(3))
