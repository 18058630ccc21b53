"""All that a screen or a command asks of a workspace, by one name: `from app import store`.

    ws = store.open_workspace(Settings.from_environment(os.environ))

    store.datasets(ws)   store.dataset(ws, "birds")   store.dataset_row(ws, "birds")   store.delete_dataset(ws, "birds")
    rows, total = store.query_images(ws, "birds", class_="wren", concept="striped wing", page=2, per_page=24)
    store.images_by_id(ws, "birds", ids)        store.thumbnails(ws, "birds", ids)     # {id: JPEG bytes}
    store.load_encoder(ws, "builtin:demo")      store.training_set(ws, "birds", "builtin:demo")

    store.banks(ws)      store.bank(ws, "parts")      store.add_bank(ws, "parts", bank)
    store.models(ws)     store.model(ws, "birds-posthoc")      store.add_model(ws, "birds-posthoc", model, dataset="birds")

    store.history(ws, "birds-posthoc")      store.append(ws, "birds-posthoc", edits, expect_version=7)
    store.undo(ws, "birds-posthoc")         store.redo(ws, "birds-posthoc")        store.new_branch(ws, model, "careful")
    store.save_draft(ws, "birds-posthoc", image_id, {"striped wing": 2.0})         store.draft(ws, model, image_id)

Lists return rows (frozen, cheap, JSON-like); singular names return the library's own values, loaded from files. An
unknown name raises `UnknownName` with the closest ones. Jobs are in `app.jobs`.
"""

from app.datasets import (
    DatasetRow,
    ImageRow,
    add_dataset,
    copy_images,
    dataset,
    dataset_row,
    datasets,
    delete_dataset,
    images_by_id,
    query_images,
)
from app.embedded import (
    device,
    embedded_as,
    embedding_store,
    load_encoder,
    load_text_encoder,
    mark_embedded,
    training_set,
    training_set_of,
)
from app.history import (
    Diff,
    History,
    StaleEdit,
    append,
    base_model,
    branches,
    bring_over,
    delete_branch,
    diff,
    history,
    new_branch,
    redo,
    undo,
)
from app.models import (
    BankRow,
    ModelRow,
    add_bank,
    add_model,
    bank,
    bank_row,
    banks,
    delete_bank,
    delete_model,
    model,
    model_row,
    models,
    rename_model,
    set_metrics,
)
from app.notes import NoteRow, add_note, delete_note, draft, drafts, notes, save_draft
from app.thumbnails import thumbnails
from app.workspace import Workspace, open_workspace

__all__ = [
    "BankRow",
    "DatasetRow",
    "Diff",
    "History",
    "ImageRow",
    "ModelRow",
    "NoteRow",
    "StaleEdit",
    "Workspace",
    "add_bank",
    "add_dataset",
    "add_model",
    "add_note",
    "append",
    "bank",
    "bank_row",
    "banks",
    "base_model",
    "branches",
    "bring_over",
    "copy_images",
    "dataset",
    "dataset_row",
    "datasets",
    "delete_bank",
    "delete_branch",
    "delete_dataset",
    "delete_model",
    "delete_note",
    "device",
    "diff",
    "draft",
    "drafts",
    "embedded_as",
    "embedding_store",
    "history",
    "images_by_id",
    "load_encoder",
    "load_text_encoder",
    "mark_embedded",
    "model",
    "model_row",
    "models",
    "new_branch",
    "notes",
    "open_workspace",
    "query_images",
    "redo",
    "rename_model",
    "save_draft",
    "set_metrics",
    "thumbnails",
    "training_set",
    "training_set_of",
    "undo",
]
