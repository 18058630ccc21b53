"""Where the bird and its fifteen parts are on a photograph of CUB-200-2011, as columns of text, in pixels."""

from collections.abc import Sequence
from pathlib import Path

from cbm.published.texts import bad_line, lines, numbered
from cbm.rows import Problem


def part_columns(base: Path) -> tuple[str, ...]:
    """`meta:box` (x, y, width, height) and one `meta:part NAME` (x, y) a part, as far as the files are there."""
    box = ("meta:box",) if (base / "bounding_boxes.txt").is_file() else ()
    return (*box, *(f"meta:part {name}" for name in _parts(base).values()))


def part_places(base: Path, images: Sequence[int], problems: list[Problem]) -> list[tuple[str, ...]]:
    """The cells of these columns for images with these numbers; empty for a part that cannot be seen."""
    columns = part_columns(base)
    row = {str(image): at for at, image in enumerate(images)}
    cells = [[""] * len(columns) for _ in images]
    box = int("meta:box" in columns)
    if box:
        for number, text in numbered(base / "bounding_boxes.txt", problems).items():
            if str(number) in row:
                cells[row[str(number)]][0] = text
    if len(columns) > box:
        column = {str(part): at for at, part in enumerate(_parts(base), start=box)}
        path = base / "parts" / "part_locs.txt"
        for where, line in lines(path):
            image, part, *place = line.split()[:5] if len(line.split()) == 5 else ("", "")
            if image not in row or part not in column:
                problems.append(bad_line(path, where, line, "an image, a part, x, y, and whether it is visible"))
            elif place[2] == "1":
                cells[row[image]][column[part]] = f"{place[0]} {place[1]}"
    return [tuple(texts) for texts in cells]


def _parts(base: Path) -> dict[int, str]:
    told = base / "parts" / "parts.txt"
    return numbered(told, []) if told.is_file() and (base / "parts" / "part_locs.txt").is_file() else {}
