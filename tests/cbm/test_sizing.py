"""Sizes of an embedding run, chosen on planted timings."""

from dataclasses import dataclass, field

import pytest
import torch

from cbm.sizing import Sizes, best_batch, cores_here, decoders_for, fewest_threads, measured_sizes
from tests.cbm.colours import ColourEncoder


@dataclass
class Planted(ColourEncoder):
    """Takes the seconds that `rate` says, on a clock that only it moves."""

    rate: object = None
    now: float = 0.0
    seen: list = field(default_factory=list)

    def encode_pixels(self, pixels):
        threads = torch.get_num_threads()
        self.seen.append((len(pixels), threads))
        self.now += len(pixels) * self.rate(len(pixels), threads)
        return super().encode_pixels(pixels)

    def frames(self, count):
        self.now += 0.004 * count
        return [torch.rand(3, 4, 4) for _ in range(count)]


def sizes(rate, **options):
    encoder = Planted(rate=rate)
    return measured_sizes(encoder, encoder.frames, clock=lambda: encoder.now, **options), encoder


def test_threads_that_help_are_used_up_to_where_they_stop_helping():
    chosen, encoder = sizes(lambda batch, threads: 0.06 / min(threads, 4), cores=16)

    assert chosen == Sizes(batch=32, threads=4, decoders=2)
    assert max(threads for _, threads in encoder.seen) == 16


def test_on_a_busy_machine_one_thread_is_used_and_more_are_not_tried():
    chosen, encoder = sizes(lambda batch, threads: 0.06 * threads, cores=16)

    assert chosen.threads == 1
    assert max(threads for _, threads in encoder.seen) == 2


def test_the_batch_that_fits_into_the_cache_is_used_where_it_is_much_faster():
    chosen, _ = sizes(lambda batch, threads: {8: 0.018, 16: 0.017, 32: 0.022}[batch], cores=1)

    assert chosen == Sizes(batch=16, threads=1, decoders=2)


def test_a_batch_that_is_given_is_not_chosen():
    chosen, encoder = sizes(lambda batch, threads: 0.01, cores=2, batch=24)

    assert (chosen.batch, chosen.threads) == (24, 1)
    assert {batch for batch, _ in encoder.seen} == {24}


def test_a_fast_encoder_gets_more_decoders_than_a_slow_one_and_never_more_than_cores():
    assert sizes(lambda batch, threads: 0.001, cores=16)[0].decoders == 6
    assert decoders_for(0.1, 0.001, cores=16) == 16
    assert decoders_for(0.0, 0.0, cores=1) == 2


def test_measuring_leaves_the_threads_of_torch_as_they_were():
    before = torch.get_num_threads()

    sizes(lambda batch, threads: 0.01, cores=3)

    assert torch.get_num_threads() == before
    assert cores_here() >= 1


@pytest.mark.parametrize("seconds", [{1: 1.0}, {1: 1.0, 2: 0.95}, {1: 1.0, 2: 1.5}])
def test_one_thread_where_more_gain_hardly_anything(seconds):
    assert fewest_threads(seconds) == 1


def test_the_usual_batch_unless_another_is_clearly_faster():
    assert best_batch({16: 1.0, 32: 1.05}) == 32
    assert best_batch({16: 1.0, 32: 1.2}) == 16
    assert best_batch({24: 1.0}) == 24
