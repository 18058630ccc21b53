"""What the screens look at, loaded once and shared by all sessions: workspace, images, models and what models say.

Everything here is read-only for the screens. Cache keys are texts (fingerprints, scripts of edits as JSON), because
Streamlit does not tell two values of different types apart; tensors stay here and never go into the session.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import store
from app.kept import keep, kept
from app.settings import Settings
from app.ui.pieces import empty
from app.ui.selection import select, selection
from app.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from app.cases import Outcome, Ranges
    from app.datasets import DatasetRow
    from app.history import History
    from app.models import ModelRow
    from cbm.edits import Edit
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet


def workspace() -> Workspace:
    """The workspace that the environment names; one for all sessions."""
    settings = Settings.from_environment(os.environ)
    return _workspace(str(sorted(settings.to_environment().items())), settings)


@st.cache_resource(show_spinner=False, max_entries=8, on_release=lambda ws: ws.close())
def _workspace(key: str, _settings: Settings) -> Workspace:
    return open_workspace(_settings)


@dataclass(frozen=True)
class Scene:
    """A model, with its edits, before the images of a data set.

    Attributes
    ----------
    key
        Differs whenever the model or the images do; for the keys of caches and widgets.
    fitted
        The model before its edits.
    """

    ws: Workspace
    key: str
    dataset: "DatasetRow"
    row: "ModelRow"
    history: "History"
    fitted: "ConceptModel"
    model: "ConceptModel"
    data: "TrainingSet"

    @cached_property
    def outcome(self) -> "Outcome":
        """What the model says of every image."""
        return outcome(self, self.history.edits)

    @cached_property
    def ranges(self) -> "Ranges":
        """What every concept's score is like on the training images."""
        return _ranges(self.key, self)

    @property
    def group_names(self) -> list[str]:
        """The groups that images belong to, in order."""
        return _groups(self.key, self)

    @cached_property
    def image(self) -> int:
        """Position of the selected image; the first that passes the filters of the address when none is selected."""
        return _positions(self.key, self).get(selection().image, _first(self))


def scene() -> Scene:
    """What is selected, loaded; without models or images, a note of what is missing, and the page ends.

    Raises
    ------
    UnknownName
        If the address names a data set, model or version that does not exist.
    """
    return _load(workspace(), *chosen())


def chosen() -> "tuple[DatasetRow, ModelRow, str]":
    """The same as rows, and the branch, before anything is loaded.

    Raises
    ------
    UnknownName
        If the address names a data set, model or version that does not exist.
    """
    ws, wanted = workspace(), selection()
    datasets = store.datasets(ws)
    if not datasets:
        empty(
            "No data set yet",
            "Import images, or start with the demo: run “pellucid demo”.",
            screen="data",
            action="Import a data set",
        )
        st.stop()
    names = [row.name for row in datasets]
    dataset = store.dataset_row(ws, wanted.dataset or _with_models(ws, names))
    models = store.models(ws, dataset=dataset.name)
    if not models and not wanted.model:
        empty(
            f"No model for {dataset.name} yet",
            "A model is built from the data set's embeddings and a bank of concepts.",
            screen="build",
            action="Build a model",
        )
        st.stop()
    row = store.model_row(ws, wanted.model or _first_model(models))
    return dataset, row, wanted.version or "main"


def first_of(dataset: str) -> "ModelRow | None":
    """The model of a data set that the sidebar would show first, whatever is selected."""
    models = store.models(workspace(), dataset=dataset)
    return store.model_row(workspace(), _first_model(models)) if models else None


def scene_of(dataset: str, branch: str = "main") -> Scene | None:
    """A data set with its first model, whatever is selected; nothing without a model."""
    ws, row = workspace(), first_of(dataset)
    return None if row is None else _load(ws, store.dataset_row(ws, dataset), row, branch)


def told(name: str, dataset: "DatasetRow", row: "ModelRow", branch: str, tell: Callable[[], Any]) -> Any:
    """What `tell` says of a model on a data set, as JSON: computed once, and kept until one of the two changes."""
    ws = workspace()
    edits = store.history(ws, row.name, branch).to_json()["edits"]
    key = f"{row.fingerprint}|{json.dumps(edits)}|{store.embedded_as(ws, dataset.name, row.encoder)}"
    value = kept(ws, f"{name} {row.name}", key)
    if value is None:
        value = tell()
        keep(ws, f"{name} {row.name}", key, value)
    return value


def _load(ws: Workspace, dataset: "DatasetRow", row: "ModelRow", branch: str) -> Scene:
    from cbm.edits import dumps

    past = store.history(ws, row.name, branch)
    data = embedded(dataset.name, row.encoder)
    fitted = _fitted(row.fingerprint, ws, row.name)
    key = f"{row.fingerprint}|{dumps(past.edits)}|{dataset.fingerprint}|{len(data)}"
    return Scene(
        ws, key, dataset, row, past, fitted, _edited(row.fingerprint, dumps(past.edits), fitted, past.edits), data
    )


def embedded(dataset: str, encoder: str) -> "TrainingSet":
    """All images of a data set as an encoder sees them; the one copy that all screens share.

    Raises
    ------
    StoreError
        If the data set is not embedded with this encoder.
    """
    ws = workspace()
    return _training_set(f"{ws.settings.home}|{store.embedded_as(ws, dataset, encoder)}", ws, dataset, encoder)


def need_concepts(scene: Scene) -> None:
    """End the page with a note when the model is a yardstick without concepts."""
    if not scene.model.concepts:
        empty("This model has no concepts", "It is a yardstick to compare with; choose another model at the left.")
        st.stop()


def outcome(scene: Scene, edits: "Sequence[Edit]") -> "Outcome":
    """What the fitted model with these edits says of every image; for previews."""
    from cbm.edits import dumps

    script = dumps(edits)
    images = f"{scene.dataset.fingerprint}|{len(scene.data)}"
    return _outcome(f"{scene.row.fingerprint}|{images}|{script}", edited(scene, edits), scene.data)


def edited(scene: Scene, edits: "Sequence[Edit]") -> "ConceptModel":
    """The fitted model with these edits."""
    from cbm.edits import dumps

    return _edited(scene.row.fingerprint, dumps(edits), scene.fitted, tuple(edits))


def thumbnails(scene: Scene, positions: Sequence[int], size: int = 192) -> dict[int, bytes]:
    """JPEG bytes by position of the image; an image whose file is broken is left out."""
    ids = tuple(scene.data.ids[int(p)] for p in positions)
    made = thumbnails_by_id(scene.dataset, ids, size)
    return {int(p): made[id] for p, id in zip(positions, ids, strict=True) if id in made}


def thumbnails_by_id(dataset: "DatasetRow", ids: Sequence[str], size: int = 192) -> dict[str, bytes]:
    """The same by id of the image, without what a model says of it."""
    ws = workspace()
    return _thumbnails(f"{ws.settings.home}|{dataset.fingerprint}", tuple(ids), size, ws, dataset.name)


@st.cache_resource(show_spinner="Loading the embeddings …", max_entries=4, ttl="1h")
def _training_set(key: str, _ws: Workspace, dataset: str, encoder: str) -> "TrainingSet":
    return store.training_set(_ws, dataset, encoder)


@st.cache_resource(show_spinner=False, max_entries=16)
def _fitted(fingerprint: str, _ws: Workspace, name: str) -> "ConceptModel":
    return store.base_model(_ws, name)


@st.cache_resource(show_spinner=False, max_entries=64)
def _edited(fingerprint: str, script: str, _fitted: "ConceptModel", _edits: "tuple[Edit, ...]") -> "ConceptModel":
    from cbm.edits import apply

    return apply(_fitted, _edits)


@st.cache_resource(show_spinner=False, max_entries=16)
def _outcome(key: str, _model: "ConceptModel", _data: "TrainingSet") -> "Outcome":
    from app import cases

    return cases.outcome(_model, _data)


@st.cache_resource(show_spinner=False, max_entries=16)
def _ranges(key: str, _scene: Scene) -> "Ranges":
    from app import cases

    train = _scene.data.splits == "train"
    scores = _scene.outcome.scores
    return cases.ranges(scores[train] if train.any() else scores)


@st.cache_resource(show_spinner=False, max_entries=8)
def _groups(key: str, _scene: Scene) -> list[str]:
    return sorted({group for group in _scene.data.groups or () if group})


@st.cache_resource(show_spinner=False, max_entries=4)
def _positions(key: str, _scene: Scene) -> dict[str, int]:
    return {id: position for position, id in enumerate(_scene.data.ids)}


@st.cache_data(show_spinner=False, max_entries=512)
def _thumbnails(key: str, ids: tuple[str, ...], size: int, _ws: Workspace, dataset: str) -> dict[str, bytes]:
    return store.thumbnails(_ws, dataset, ids, size)


def _first(scene: Scene) -> int:
    from app import cases

    data, names = scene.data, scene.data.split_names
    said = {
        key: str(st.session_state.get(key, st.query_params.get(key, "")))
        for key in ("split", "label", "group", "wrong")
    }
    split = said["split"] if said["split"] in names else "test" if "test" in names else ""
    group = said["group"] if said["group"] in scene.group_names else ""
    filters = {"class_": said["label"], "group": group, "wrong": said["wrong"].lower() == "true"}
    found = cases.chosen(data, scene.outcome, split=split, **filters)
    return int(found[0]) if len(found) else 0


def _with_models(ws: Workspace, names: Sequence[str]) -> str:
    """The first data set that has a model, or else the first."""
    there = {row.dataset for row in store.models(ws)}
    return next((name for name in names if name in there), names[0])


def _first_model(models: "Sequence[ModelRow]") -> str:
    """The first model that has concepts by its method's name, or else the first."""
    return next((row.name for row in models if row.method == "posthoc"), models[0].name)


def current_dataset() -> "DatasetRow | None":
    """The selected data set; before one is selected, the one that the sidebar shows; none in an empty workspace."""
    ws = workspace()
    names = [row.name for row in store.datasets(ws)]
    return store.dataset_row(ws, selection().dataset or _with_models(ws, names)) if names else None


def current_model() -> "ModelRow | None":
    """The selected model; before one is selected, the one that the sidebar shows, or any at all."""
    ws, dataset = workspace(), current_dataset()
    if selection().model:
        return store.model_row(ws, selection().model)
    rows = store.models(ws, dataset=dataset.name) if dataset is not None else []
    rows = rows or store.models(ws)
    return store.model_row(ws, _first_model(rows)) if rows else None


def sidebar() -> None:
    """The data set, model and version that all screens look at, chosen at the left."""
    ws, wanted = workspace(), selection()
    names = [row.name for row in store.datasets(ws)]
    if not names:
        return
    dataset = wanted.dataset if wanted.dataset in names else _with_models(ws, names)
    with st.sidebar:
        _choice("Data set", names, dataset, "dataset")
        rows = store.models(ws, dataset=dataset)
        if rows:
            models = [row.name for row in rows]
            model = wanted.model if wanted.model in models else _first_model(rows)
            _choice("Model", models, model, "model")
            versions = store.branches(ws, model)
            if len(versions) > 1:
                _choice("Version", versions, wanted.version if wanted.version in versions else "main", "version")


def _choice(label: str, names: Sequence[str], current: str, field: str) -> None:
    key = f"choose_{field}"
    st.session_state[key] = current
    st.selectbox(label, names, key=key, on_change=lambda: select(**{field: st.session_state[key]}))
