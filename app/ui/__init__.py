"""What the screens share: the selection, the loaded values, and the pieces that every page is made of.

What shows a model's answers loads when first used, and torch with it: Home, Data and Jobs open without.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from app.ui.loaded import (
    Scene,
    chosen,
    current_dataset,
    current_model,
    edited,
    need_concepts,
    outcome,
    scene,
    scene_of,
    sidebar,
    thumbnails,
    thumbnails_by_id,
    told,
    workspace,
)
from app.ui.pieces import (
    FOLDER,
    announce,
    beside,
    callback,
    chart,
    edge,
    empty,
    filled,
    follow,
    go_to,
    guarded,
    header,
    heading,
    problem,
    reproduce,
    screen_exists,
    show_problems,
    table,
    twin,
    verdict_badge,
)
from app.ui.recipes import command, reference, script
from app.ui.selection import Selection, keep, parameters, select, selection
from app.ui.text import badge, escape, estimate, percent, plural, signed, title

if TYPE_CHECKING:
    from app.ui.gallery import browse as browse
    from app.ui.gallery import class_choice as class_choice
    from app.ui.gallery import concept_choice as concept_choice
    from app.ui.gallery import row as row
    from app.ui.gallery import spoken as spoken
    from app.ui.gallery import strip as strip
    from app.ui.gallery import verdict as verdict
    from app.ui.maps import concept_maps as concept_maps
    from app.ui.maps import has_maps as has_maps
    from app.ui.past import undo_redo as undo_redo
    from app.ui.previews import accuracy_card as accuracy_card
    from app.ui.previews import compared as compared

_HOME = {
    "browse": "gallery",
    "class_choice": "gallery",
    "concept_choice": "gallery",
    "row": "gallery",
    "spoken": "gallery",
    "strip": "gallery",
    "verdict": "gallery",
    "concept_maps": "maps",
    "has_maps": "maps",
    "undo_redo": "past",
    "accuracy_card": "previews",
    "compared": "previews",
}
__all__ = [
    "FOLDER",
    "Scene",
    "Selection",
    "accuracy_card",
    "announce",
    "badge",
    "beside",
    "browse",
    "callback",
    "chart",
    "chosen",
    "class_choice",
    "command",
    "compared",
    "concept_choice",
    "concept_maps",
    "current_dataset",
    "current_model",
    "edge",
    "edited",
    "empty",
    "escape",
    "estimate",
    "filled",
    "follow",
    "go_to",
    "guarded",
    "has_maps",
    "header",
    "heading",
    "keep",
    "need_concepts",
    "outcome",
    "parameters",
    "percent",
    "plural",
    "problem",
    "reference",
    "reproduce",
    "row",
    "scene",
    "scene_of",
    "screen_exists",
    "script",
    "select",
    "selection",
    "show_problems",
    "sidebar",
    "signed",
    "spoken",
    "strip",
    "table",
    "thumbnails",
    "thumbnails_by_id",
    "title",
    "told",
    "twin",
    "undo_redo",
    "verdict",
    "verdict_badge",
    "workspace",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'app.ui' has no attribute {name!r}")
    value = getattr(import_module(f"app.ui.{_HOME[name]}"), name)
    globals()[name] = value
    return value
