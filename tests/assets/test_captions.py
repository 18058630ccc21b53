import re

import numpy as np
import pytest

from assets import cells, species
from assets.captions import GENERAL, PROMPTS, caption, describe, kind_of, prompt, words
from assets.training_pool import CONCEPTS, draw_bird_for, draw_cell_for, has_held_out
from assets.word_tokenizer import WordTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer(words(), 40)


def training_traits(count):
    for number in range(count):
        rng = np.random.default_rng([11, number])
        draw = draw_bird_for if number % 2 else draw_cell_for
        yield draw("train", number, rng).traits, rng


def test_every_concept_has_a_name_of_its_own():
    assert len(set(CONCEPTS)) == len(CONCEPTS) == 56 + 31


def test_held_out_pairs_name_concepts_of_two_groups():
    for group_of, pairs in ((species.GROUP_OF, species.HELD_OUT), (cells.GROUP_OF, cells.HELD_OUT)):
        for first, second in pairs:
            assert group_of[first] != group_of[second]


def test_held_out_pairs_never_occur_together_in_training_captions():
    pairs = [set(pair) for pair in (*species.HELD_OUT, *cells.HELD_OUT)]
    for traits, _ in training_traits(600):
        said = set(traits.values())  # a caption says some of these and nothing else
        assert not any(pair <= said for pair in pairs)


def test_every_held_out_pair_occurs_in_the_pictures_that_quality_is_measured_on():
    shown = [set(draw_bird_for("unseen", i, np.random.default_rng(i)).traits.values()) for i in range(300)]
    shown += [set(draw_cell_for("unseen", i, np.random.default_rng(i)).traits.values()) for i in range(300)]

    for pair in (*species.HELD_OUT, *cells.HELD_OUT):
        assert any(set(pair) <= traits for traits in shown), pair
    assert all(has_held_out({str(i): trait for i, trait in enumerate(traits)}) for traits in shown)


def test_background_is_independent_of_the_bird_in_training():
    birds = [draw_bird_for("train", i, np.random.default_rng([1, i])) for i in range(2000)]
    water = np.array([bird.traits["background"] == "water background" for bird in birds])

    for crown in species.GROUPS["crown colour"]:
        has = np.array([bird.traits["crown colour"] == crown for bird in birds])
        # about 400 pictures a colour: four standard errors of a half are 0.1
        assert water[has].mean() == pytest.approx(0.5, abs=0.1)


def test_the_products_own_prompts_are_trained_on():
    assert {"{}", "a bird with {}", "a photo of a bird with {}"} <= set(PROMPTS["bird"])
    assert {"{}", "a blood cell with {}", "a photo of a blood cell with {}"} <= set(PROMPTS["cell"])


def test_no_word_of_any_sentence_is_unknown(tokenizer):
    for traits, rng in training_traits(200):
        said = [str(concept) for concept in rng.permutation(list(traits.values()))[:5]]
        for sentence in (caption(said, rng), *(prompt(concept, rng) for concept in said)):
            assert "<unknown>" not in tokenizer.decode(tokenizer(sentence)[0].tolist()), sentence
    for kind in GENERAL.values():
        assert all(tokenizer.knows(word) for sentence in kind for word in sentence.split())


def test_phrases_of_one_concept_are_never_those_of_another_in_its_group():
    phrases = {c: {describe(c, np.random.default_rng([i, 5])) for i in range(150)} for c in CONCEPTS}

    for groups in (species.GROUPS, cells.GROUPS):
        for values in groups.values():
            for first in values:
                others = set().union(*(phrases[second] for second in values if second != first))
                assert not phrases[first] & others


def test_a_caption_says_what_it_is_given():
    rng = np.random.default_rng(0)
    for _ in range(50):
        text = caption(["yellow bill", "spotted wing"], rng)
        assert re.search("yellow|golden", text), text
        assert re.search("spotted|dotted|speckled|spots", text), text


def test_kinds():
    assert kind_of("hooked bill") == "bird"
    assert kind_of("vacuoles") == "cell"
