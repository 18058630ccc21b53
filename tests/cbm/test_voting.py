"""Images that vote for words: known counts, what chance would give, and the arrays of the published scripts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cbm.voting import Votes, above_chance, lift, published_concepts, scale_of, vote, voters, without_twins

REFERENCE = Path(__file__).parents[1] / "reference" / "v2c.npz"


@pytest.fixture(scope="module")
def published():
    return dict(np.load(REFERENCE).items())


@pytest.fixture(scope="module")
def ballot(published):
    pool = torch.from_numpy(published["pool_feat"])
    prototypes = torch.from_numpy(published["cls_emb"]).mean(1)
    return vote(pool, *voters(pool, prototypes, 60), torch.from_numpy(published["codebook"]))


def test_the_published_votes_are_reproduced(published, ballot):
    assert torch.equal(ballot.counts, torch.from_numpy(published["freq"]))


def test_the_published_lists_are_reproduced_but_for_words_that_nobody_voted_for(published, ballot):
    """Equal as sets above the smallest count that was kept; of equal counts the published order is unspecified."""
    words, freq = published["words"], published["freq"]
    for label, mine in enumerate(published_concepts(ballot.counts)):
        theirs = {str(word) for word in published["concepts"][label]}
        least = min(freq[label, words.tolist().index(word)] for word in theirs)
        sure = {str(words[i]) for i in np.nonzero(freq[label] > least)[0]}
        assert sure <= theirs
        assert sure <= {str(words[i]) for i in mine}
        assert all(freq[label, i] > 0 for i in mine)


def test_lists_are_not_filled_up_with_words_that_nobody_voted_for(published):
    """With three images a class the published code lists 50 words, most of which got no vote."""
    pool = torch.from_numpy(published["pool_feat"])
    prototypes = torch.from_numpy(published["cls_emb"]).mean(1)

    few = vote(pool, *voters(pool, prototypes, 3), torch.from_numpy(published["codebook"]))

    lists = published_concepts(few.counts)
    assert all(3 <= len(row) <= 15 for row in lists)
    assert [len(row) for row in lists] == [50 - padded for padded in (35, 39, 38)]  # as counted in the published run


@pytest.fixture(scope="module")
def meadow():
    """Two kinds of images, three words: one for each kind, and one that all images are near to."""
    g = torch.Generator().manual_seed(0)
    x = torch.zeros(200, 4)
    x[:, 3] = 3.0
    x[:100, 0], x[100:, 1] = 1.0, 1.0
    x += 0.1 * torch.randn(200, 4, generator=g)
    return x, torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0.1, 1.0]])


def test_a_word_that_is_near_to_all_images_wins_every_vote_unless_words_are_on_one_scale(meadow):
    x, words = meadow
    who = voters(x - x.mean(0), torch.tensor([[1.0, -1, 0, 0], [-1.0, 1, 0, 0]]), 50)

    plain = vote(x, *who, words, top=1)
    scaled = vote(x, *who, words, top=1, scale=scale_of(x, words))

    assert plain.counts.tolist() == [[0, 0, 50], [0, 0, 50]]
    assert scaled.counts[0, 0] == scaled.counts[0].max() > 25
    assert scaled.counts[1, 1] == scaled.counts[1].max() > 25
    assert all((rows < 100).all() == (label == 0) for label, rows in enumerate(scaled.voters))


def test_voters_are_the_nearest_and_a_class_without_a_prototype_has_none(meadow):
    x, _ = meadow
    chosen, closeness = voters(x, torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]]), 7)

    assert chosen[0].tolist() == x[:, 0].argsort(descending=True)[:7].tolist()
    assert closeness[0] == x[:, 0].max()
    assert len(chosen[1]) == 0


def test_an_image_that_votes_for_two_classes_counts_in_both_and_examples_are_the_nearest(meadow):
    x, words = meadow
    same = torch.arange(10)

    found = vote(x, [same, same], torch.ones(2), words, top=3)

    assert found.counts.tolist() == [[10] * 3] * 2
    assert found.examples.tolist() == [(x[:10] @ word).argmax().item() for word in words]


def test_blocks_do_not_matter(meadow, monkeypatch):
    x, words = meadow
    who = voters(x, torch.eye(4)[:3], 60)
    whole = vote(x, *who, words, top=2, scale=scale_of(x, words))

    monkeypatch.setattr("cbm.voting.IMAGES_AT_ONCE", 7)
    monkeypatch.setattr("cbm.voting.CLASSES_AT_ONCE", 2)
    blocks = vote(x, *voters(x, torch.eye(4)[:3], 60), words, top=2, scale=scale_of(x, words))

    assert torch.equal(blocks.counts, whole.counts)
    assert torch.equal(blocks.examples, whole.examples)


def test_the_spread_is_the_standard_deviation_of_the_similarities(meadow):
    x, words = meadow

    assert torch.allclose(scale_of(x, words).spread, (x @ words.T).std(0, correction=0), atol=1e-5)


def test_lift_is_the_ratio_of_rates_when_votes_are_many():
    counts = torch.tensor([[80_000, 20_000, 0], [20_000, 20_000, 0]])
    votes = Votes(
        counts, (torch.arange(100_000), torch.arange(100_000)), torch.ones(2), torch.zeros(3, dtype=torch.int64)
    )

    assert torch.allclose(lift(votes), torch.tensor([[1.6, 1, 1], [0.4, 1, 1]]), atol=1e-3)


def test_one_vote_lifts_less_than_many():
    counts = torch.tensor([[1, 40], [0, 0]])
    votes = Votes(counts, (torch.arange(50), torch.arange(50)), torch.ones(2), torch.zeros(2, dtype=torch.int64))

    assert lift(votes)[0, 0] < lift(votes)[0, 1] < 2


def test_images_drawn_by_chance_are_as_far_above_chance_as_a_normal_variable_is():
    g = torch.Generator().manual_seed(1)
    pool, words = torch.randn(400, 8, generator=g), torch.randn(40, 8, generator=g)
    drawn = [torch.randperm(400, generator=g)[:50] for _ in range(100)]

    z = above_chance(pool, drawn, words, scale_of(pool, words))

    assert abs(float(z.mean())) < 0.1
    assert float(z.std()) == pytest.approx(1, abs=0.1)


def test_of_nearly_the_same_words_the_first_stays():
    words = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.05], [0.0, 1.0], [1.0, 1.0]]), dim=1)

    assert without_twins([0, 1, 2, 3], words, cosine=0.95, most=9) == [0, 2, 3]
    assert without_twins([1, 0, 2, 3], words, cosine=0.95, most=2) == [1, 2]
