"""What a timed call follows: others of the same model, so that it is warm; none where it takes long itself."""

import time

import numpy as np
import pytest

from edgelift_builder.data import DataSet
from edgelift_builder.measure import latency

pytestmark = pytest.mark.builder


class Counted:
    """A session that counts its calls and takes at least so long for each."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.calls = seconds, 0

    def run(self, sample: DataSet) -> DataSet:
        self.calls += 1
        time.sleep(self.seconds)
        return sample


SAMPLE = {"x": np.zeros((1, 4), np.float32)}


def test_a_call_that_counts_comes_right_after_others_of_the_same_model() -> None:
    session = Counted(0.002)
    took_us = latency.warm_us(session, SAMPLE, 3)
    assert session.calls == 4
    assert took_us >= 2000


def test_a_call_that_takes_long_needs_none_before_it() -> None:
    assert latency.settling(Counted(latency.SETTLING_US / 1e6), SAMPLE) == 0
    assert 0 <= latency.settling(Counted(latency.SETTLING_US / 2.5e6), SAMPLE) <= 2
    assert latency.settling(Counted(), SAMPLE) <= latency.SETTLING_CALLS
