"""Candidate sentences as language models print them: JSON with prose, fences and small faults around it, or headed lists.

What can be read without guessing is read; the rest is refused with the line where reading stopped. Nothing is evaluated.
"""

import json
import re
from collections.abc import Iterator, Mapping

from cbm.errors import DataError

LARGEST_TEXT = 8 << 20  # characters
LAYOUT = 'expected {"class": ["sentence", ...]}, or a heading for each class with a list below it'
_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"^\s*(?:[-*•\u2013+]|\(?\d{1,3}[.)])\s+(.*)$")
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+(?P<hash>.+?)|\*\*(?P<bold>[^*]+?)\*\*:?|(?P<plain>[^:\n]{1,120}):)\s*:?\s*$")
_CLASS_KEYS, _LIST_KEYS = ("class", "name", "category", "label"), ("concepts", "sentences", "features", "attributes", "descriptions")  # fmt: skip
_AFTER = re.compile(r"\s*([,:\]}]|\Z)")  # what follows a string, so that an apostrophe does not end one
_QUOTES = {'"': '"', "\u201c": "\u201d", "'": "'", "\u2018": "\u2019"}


def read_written(text: str) -> dict[str, tuple[str, ...]]:
    """Sentences by class from what a language model printed, or from a person's list.

    Reads JSON (an object of lists, of objects of lists, or a list of objects with a class and its sentences), within
    code fences or prose, with comments, trailing commas or curly and single quotes; or headings with lists below them.

    Raises
    ------
    DataError
        If there is nothing of the kind; it names the line.

    Examples
    --------
    >>> read_written('Sure!\\n```json\\n{"wren": ["short tail",],}\\n```')
    {'wren': ('short tail',)}
    >>> read_written("## Wren\\n1. short tail\\n2. **brown** back")
    {'Wren': ('short tail', 'brown back')}
    """
    if len(text) > LARGEST_TEXT:
        raise DataError(f"the text is longer than {LARGEST_TEXT >> 20} million characters", hint="give it in parts")
    text = text.replace("\r\n", "\n").lstrip("\ufeff")
    found: dict[str, list[str]] = {}
    blocks = [match for match in _FENCE.finditer(text) if re.search(r"[{\[]", match[1])]
    parts = [(match[1], text.count("\n", 0, match.start(1))) for match in blocks] or [(text, 0)]
    for block, line in parts:
        for name, sentences in _block(block, line).items():
            found.setdefault(name, []).extend(sentences)
    if not found:
        raise DataError("there is no list of sentences in the text", hint=LAYOUT)
    return {name: tuple(sentences) for name, sentences in found.items()}


def _block(text: str, line: int) -> dict[str, list[str]]:
    start = re.search(r'\{|\[\s*[{"\'“]', text)
    if start is None or (_ITEM.search(text[: start.start()].rsplit("\n", 1)[-1])):
        return _headed(text, line)
    line += text.count("\n", 0, start.start())
    strict = _mended(text[start.start() :])
    try:
        value, _ = json.JSONDecoder().raw_decode(strict)
    except (ValueError, RecursionError) as error:
        raise _not_json(error, strict, line) from error
    return _from_value(value)


def _from_value(value: object) -> dict[str, list[str]]:
    """Classes and sentences of a JSON value."""
    if isinstance(value, list):
        if value and all(isinstance(one, str) for one in value):
            raise DataError("the list does not say which class its sentences are of", hint=LAYOUT)
        merged: dict[str, list[str]] = {}
        for i, one in enumerate(value, start=1):
            for name, sentences in _of_object(one, i).items():
                merged.setdefault(name, []).extend(sentences)
        return merged
    if not isinstance(value, dict) or not value:
        raise DataError("the candidates are not an object of classes", hint=LAYOUT)
    inner = list(value.values())
    if len(inner) == 1 and isinstance(inner[0], dict) and all(isinstance(v, list | dict) for v in inner[0].values()):
        value = inner[0]  # {"classes": {...}}
    return {str(name): _sentences(name, listed) for name, listed in value.items()}


def _of_object(one: object, number: int) -> dict[str, list[str]]:
    """`{"class": "wren", "concepts": [...]}`, or an object of classes."""
    if not isinstance(one, dict):
        raise DataError(
            f"entry {number} of the list is not an object", hint='expected {"class": ..., "concepts": [...]}'
        )
    name = next((one[key] for key in _CLASS_KEYS if isinstance(one.get(key), str)), None)
    if name is None:
        return _from_value(one)
    listed = next((one[key] for key in _LIST_KEYS if key in one), None)
    if listed is None:
        listed = next((value for value in one.values() if isinstance(value, list)), None)
    return {name: _sentences(name, listed)}


def _sentences(name: object, listed: object) -> list[str]:
    if isinstance(listed, Mapping):  # {"colour": [...], "shape": [...]}
        return [one for inner in listed.values() for one in _sentences(name, inner)]
    if isinstance(listed, str) and "\n" in listed.strip():
        listed = [line for line in listed.splitlines() if line.strip()]
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise DataError(f"the candidates of {name!r} are not a list of sentences", hint='expected ["...", "..."]')
    return [_bare(one) for one in listed]


def _headed(text: str, line: int) -> dict[str, list[str]]:
    """A heading for each class, and items below it."""
    found: dict[str, list[str]] = {}
    current = ""
    for number, row in enumerate(text.split("\n"), start=line + 1):
        item, heading = _ITEM.match(row), _HEADING.match(row)
        if item and not _HEADING.match(item[1] if item[1].rstrip().endswith((":", "**")) else ""):
            if not current:
                raise DataError(f"line {number}: “{row.strip()[:60]}” stands below no class", hint=LAYOUT)
            found.setdefault(current, []).append(_bare(item[1]))
        elif item or heading:
            match = _HEADING.match(item[1]) if item else heading
            assert match is not None
            current = _bare(next(group for group in match.groups() if group)).rstrip(":").strip()
    return found


def _bare(text: str) -> str:
    """A sentence without the marks of a list, of emphasis, and of a quotation around it."""
    item = _ITEM.match(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", item[1] if item else text).strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text


def _mended(text: str) -> str:
    """The same with double quotes around strings, and without comments and commas at the end of a list; lines stay."""
    out: list[str] = []
    for piece in _pieces(text):
        if piece in ("}", "]"):
            last = next((i for i in range(len(out) - 1, -1, -1) if not out[i].isspace()), -1)
            if last >= 0 and out[last] == ",":
                out[last] = " "
        out.append(piece)
    return "".join(out)


def _pieces(text: str) -> Iterator[str]:
    """Strings in double quotes, single other characters, and no comments."""
    i = 0
    while i < len(text):
        letter = text[i]
        if letter in _QUOTES:
            end = _end_of_string(text, i)
            inside = text[i + 1 : end]
            if letter != '"':
                inside = inside.replace('\\"', '"').replace("\\'", "'").replace('"', '\\"')
            yield f'"{inside}"'
            i = end + 1
        elif text.startswith("//", i) or (letter == "#" and text[:i].rsplit("\n", 1)[-1].strip() == ""):
            i = max(text.find("\n", i), 0) or len(text)
        else:
            yield letter
            i += 1


def _end_of_string(text: str, start: int) -> int:
    close, i = _QUOTES[text[start]], start + 1
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] == close and (close != "'" or _AFTER.match(text, i + 1)):
            return i
        i += 1
    return len(text)


def _not_json(error: Exception, text: str, line: int) -> DataError:
    if not isinstance(error, json.JSONDecodeError):
        return DataError("the text is nested too deeply", hint=LAYOUT)
    number = line + error.lineno
    row = text.split("\n")[error.lineno - 1].strip()[:60]
    if error.pos >= len(text.rstrip()):
        return DataError(
            f"line {number}: the text ends in the middle of a list",
            hint="the answer was cut off: ask for the rest, or close the brackets",
        )
    return DataError(f"line {number}, column {error.colno}: {error.msg} at “{row}”", hint=LAYOUT)
