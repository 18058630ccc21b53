import torch

from assets.word_tokenizer import UNKNOWN, WordTokenizer

TOKENIZER = WordTokenizer(("a", "beak", "bird", "colour", "grey", "hooked", "with"), context_length=8)


def test_known_words_come_back():
    assert TOKENIZER.decode(TOKENIZER("a bird with a hooked beak")[0].tolist()) == "a bird with a hooked beak"


def test_rows_start_with_one_and_end_with_the_highest_id():
    row = TOKENIZER("a bird")[0]

    assert row.shape == (8,)
    assert row[0] == 1
    assert row.argmax() == 3
    assert row.max() == TOKENIZER.end == TOKENIZER.size - 1
    assert (row[4:] == 0).all()


def test_a_long_text_is_cut_but_still_ends():
    row = TOKENIZER("bird " * 30)[0]

    assert len(row) == 8
    assert row[-1] == TOKENIZER.end


def test_case_hyphens_plurals_and_american_spelling_do_not_matter():
    assert TOKENIZER.encode("HOOKED-Beaks, gray color") == TOKENIZER.encode("hooked beak grey colour")


def test_an_unknown_word_gets_one_of_a_few_tokens_and_always_the_same():
    (first,) = TOKENIZER.encode("zyzzyva")

    assert TOKENIZER.encode("zyzzyva") == [first]
    assert 2 <= first < 2 + UNKNOWN
    assert TOKENIZER.decode([first]) == "<unknown>"
    assert not TOKENIZER.knows("zyzzyva")
    assert TOKENIZER.knows("birds")


def test_an_empty_text_is_a_start_and_an_end():
    assert TOKENIZER("")[0, :3].tolist() == [1, TOKENIZER.end, 0]


def test_one_text_and_a_list_of_one_are_the_same():
    assert torch.equal(TOKENIZER("a bird"), TOKENIZER(["a bird"]))


def test_written_and_read_again_it_is_the_same(tmp_path):
    TOKENIZER.save(tmp_path / "vocabulary.json")

    again = WordTokenizer.load(tmp_path / "vocabulary.json")

    assert again.vocabulary == TOKENIZER.vocabulary
    assert torch.equal(again("a hooked bird"), TOKENIZER("a hooked bird"))
