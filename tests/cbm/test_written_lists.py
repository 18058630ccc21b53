"""What language models print is read, and what cannot be read is refused with its place."""

import pytest

from cbm.errors import DataError
from cbm.vocabulary import candidates_in
from cbm.written_lists import read_written

BOTH = {"wren": ("short tail", "brown back"), "gull": ("pale back",)}


@pytest.mark.parametrize(
    "text",
    [
        '{"wren": ["short tail", "brown back"], "gull": ["pale back"]}',
        'Here you go:\n```json\n{"wren": ["short tail", "brown back"], "gull": ["pale back"]}\n```\nHope {it} helps',
        '```\n{"wren": ["short tail"]}\n```\nand\n```\n{"wren": ["brown back"], "gull": ["pale back"]}\n```',
        '{\n // small\n "wren": ["short tail", "brown back",],\n # grey\n "gull": ["pale back",],\n}',
        "{'wren': ['short tail', 'brown back'], 'gull': ['pale back']}",
        "{“wren”: [“short tail”, “brown back”], “gull”: [“pale back”]}",
        '[{"class": "wren", "concepts": ["short tail", "brown back"]}, {"name": "gull", "features": ["pale back"]}]',
        '{"classes": {"wren": {"shape": ["short tail"], "colour": ["brown back"]}, "gull": ["pale back"]}}',
        '{"wren": "- short tail\\n- brown back", "gull": ["1. pale back"]}',
        "## wren\n- short tail\n- brown back\n\n## gull\n- pale back",
        "**wren**:\n* short tail\n* **brown** back\n**gull:**\n• pale back",
        '1. **wren**:\n   - short tail\n   - "brown back"\n2. **gull**:\n   - pale back\n',
        "wren:\r\n1) short tail\r\n2) brown back\r\ngull:\r\n1) pale back\r\n",
    ],
)  # fmt: skip
def test_all_the_ways_of_saying_the_same_say_the_same(text):
    assert read_written(text) == BOTH


def test_apostrophes_commas_braces_and_quotes_inside_sentences_stay():
    text = """{'wren': ['the bird's bill, long}', 'a "small" one',], "gull": ["it's // grey, # pale]",]}"""

    assert read_written(text) == {
        "wren": ("the bird's bill, long}", 'a "small" one'),
        "gull": ("it's // grey, # pale]",),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list of sentences"),
        ("I cannot help with that.", "no list of sentences"),
        ('ok\n{"wren": ["a",\n"b"', "line 3: the text ends in the middle of a list"),
        ('Sure\n\n```json\n{\n"wren": ["a"]\n"gull": ["b"]\n}\n```', 'line 6, column 1: .* at “"gull"'),
        ("- a\n- b", "line 1: “- a” stands below no class"),
        ('["a", "b"]', "does not say which class"),
        ('{"cat": "x"}', "candidates of 'cat' are not a list"),
        ('{"cat": [1]}', "candidates of 'cat' are not a list"),
        ('[{"class": "wren"}]', "candidates of 'wren' are not a list"),
        ('["a", {"b": 1}]', "entry 1 of the list is not an object"),
        ("{" * 100_000, "line 1"),
        ('{"a":' + "[" * 100_000, "line 1|nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, message):
    with pytest.raises(DataError, match=message) as caught:
        read_written(text)
    assert caught.value.hint


def test_an_expression_is_not_evaluated():
    with pytest.raises(DataError):
        read_written("{'wren': [__import__('os').getcwd()]}")


def test_strict_json_and_printed_text_come_by_one_door():
    assert (
        candidates_in('{"wren": ["short tail"]}') == candidates_in("wren:\n- short tail") == {"wren": ("short tail",)}
    )
