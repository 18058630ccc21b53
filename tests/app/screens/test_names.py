"""Names come from data: whatever they hold, every screen shows them and interprets nothing."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from shore import MODEL, fill
from streamlit.testing.v1 import AppTest

from app.workspace import Workspace

Open = Callable[..., AppTest]
HOSTILE = "**evil** <img src=x> :red[a] $b$ [c](d)"
NAMED = replace(
    MODEL,
    concepts=(f"white {HOSTILE}", "small", "black wing", f"water {HOSTILE}"),
    classes=(f"gull {HOSTILE}", f"wren {HOSTILE}", "crow"),
)


@pytest.mark.parametrize(
    ("screen", "address"),
    [
        ("home", {}),
        ("explain", {"image": "036.png"}),
        ("explain", {"view": "One class"}),
        ("intervene", {"image": "036.png"}),
        ("edit", {"concept": NAMED.concepts[3]}),
        ("fix", {"each": "2"}),
    ],
)
def test_hostile_names_are_escaped_everywhere(
    open_screen: Open, workspace: Workspace, tmp_path: Path, screen: str, address: dict[str, str]
) -> None:
    fill(workspace, tmp_path / "shore", model=NAMED)

    page = open_screen(screen, **address)

    rendered = [*page.markdown, *page.caption, *page.subheader, *page.success, *page.info, *page.warning]
    texts = [str(part.value) for part in rendered] + [b.label for b in page.button] + [m.label for m in page.metric]
    texts += [link.proto.label for link in page.get("page_link")]
    texts += [s.label for s in page.slider if s.proto.label_visibility.value == 0]  # others are only read aloud
    assert not page.exception
    assert any("evil" in text for text in texts)
    bare = [re.sub(r"\\.", "", text) for text in texts]  # what is left when escaped letters are gone
    assert not [text for text in bare if re.search(r"<|:red|evil\*|\$|\]\(d", text)]
