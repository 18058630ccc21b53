"""The REST interface under /api: list, predict, explain, intervene and edit, by the functions that the screens call.

It is off unless asked for (`pellucid serve --api`), and every request shows a token (`pellucid token create NAME`) in
the header `Authorization: Bearer ...`; cookies are never looked at. /api/openapi.json describes it to anybody.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import store
from app.settings import Settings
from app.tokens import TokenRow, token_of
from app.workspace import Workspace, open_workspace
from cbm.errors import PellucidError, UnknownName, UsageError

if TYPE_CHECKING:
    import torch

    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet

MOST_IMAGES = 1000  # of one request
STATUS = {"unknown": 404, "stale": 409, "usage": 422}  # of an error's kind; any other is 400


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Images(_Body):
    """Which images: ids of the model's data set, or embeddings by the model's own encoder; one of the two."""

    images: list[str] | None = Field(None, max_length=MOST_IMAGES, description="ids of images in the model's data set")
    embeddings: list[list[FiniteFloat]] | None = Field(None, max_length=MOST_IMAGES, description="one row an image")
    branch: str = Field("main", description="list of edits of the model")


class OneImage(_Body):
    """One image, by its id or its embedding."""

    image: str | None = None
    embedding: list[FiniteFloat] | None = None
    branch: str = "main"

    def many(self) -> Images:
        """The same as a request for several."""
        return Images(
            images=None if self.image is None else [self.image],
            embeddings=None if self.embedding is None else [self.embedding],
            branch=self.branch,
        )


class Explained(OneImage):
    """What to explain, for which class, and with how many concepts."""

    class_: str | None = Field(None, alias="class", description="the class to explain; else the predicted one")
    top: int | None = Field(None, ge=1, description="how many concepts; else all")


class Intervened(OneImage):
    """Scores that a person sets on one image."""

    scores: dict[str, FiniteFloat] = Field(min_length=1, description="concept to score")


class Edits(_Body):
    """Edits to add to a model, each an object with its `kind`, as `pellucid edit apply` reads them."""

    edits: list[dict[str, Any]] = Field(min_length=1, max_length=1000)
    branch: str = "main"
    expect_version: int | None = Field(
        None, description="the version that was looked at; an error if undo came between"
    )


class Steps(_Body):
    """How many edits to take back or to bring back."""

    steps: int = Field(1, ge=1)
    branch: str = "main"
    expect_version: int | None = None


def build_rest(settings: Settings) -> ASGIApp:
    """The interface as an ASGI application; it keeps one connection pool to the workspace."""
    ws = open_workspace(settings)
    api = FastAPI(
        title="Pellucid",
        version="1",
        summary="Concept bottleneck models: list, predict, explain, intervene, edit.",
        dependencies=[Depends(_reader(ws))],
        docs_url=None,  # its page loads scripts from another place, which the security headers forbid
        redoc_url=None,
    )
    api.add_exception_handler(PellucidError, _told)
    _lists(api, ws)
    _answers(api, ws)
    _changes(api, ws)
    return LimitedBody(api, settings.max_upload_bytes)


class LimitedBody:
    """Answers 413 to a request whose body is longer than the limit, without reading more of it."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise HTTPException(413, f"a request may have {self.limit:,} bytes")
            return message

        await self.app(scope, counted, send)


def _reader(ws: Workspace) -> Any:
    bearer = HTTPBearer(auto_error=False, description="a token of `pellucid token create NAME`")

    def reader(request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> TokenRow:
        token = token_of(ws, shown.credentials) if shown else None
        if token is None:
            raise HTTPException(401, "a valid token is needed", headers={"WWW-Authenticate": "Bearer"})
        request.state.token = token
        return token

    return reader


def _may_write(request: Request) -> None:
    if not request.state.token.writes:
        raise HTTPException(403, "this token may only read; make one with: pellucid token create NAME --write")


async def _told(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PellucidError)
    status = 404 if isinstance(error, UnknownName) else STATUS.get(error.kind, 400)
    told = {"kind": error.kind, "message": error.message, "hint": error.hint}
    return JSONResponse({"error": told}, status_code=status)


def _lists(api: FastAPI, ws: Workspace) -> None:
    @api.get("/datasets", tags=["list"])
    def datasets() -> dict[str, Any]:
        """All data sets."""
        return {"items": [asdict(row) for row in store.datasets(ws)]}

    @api.get("/datasets/{dataset}/images", tags=["list"])
    def images(
        dataset: str,
        split: str | None = None,
        class_: Annotated[str | None, Query(alias="class")] = None,
        page: Annotated[int, Query(ge=1)] = 1,
        per_page: Annotated[int, Query(ge=1, le=MOST_IMAGES)] = 100,
    ) -> dict[str, Any]:
        """One page of a data set's images, and how many there are."""
        rows, total = store.query_images(ws, dataset, split=split, class_=class_, page=page, per_page=per_page)
        items = [
            {"id": row.id, "class": row.class_, "split": row.split, "concepts": list(row.concepts)} for row in rows
        ]
        return {"total": total, "items": items}

    @api.get("/models", tags=["list"])
    def models(dataset: str | None = None) -> dict[str, Any]:
        """All models, or those of one data set."""
        return {"items": [asdict(row) for row in store.models(ws, dataset=dataset)]}

    @api.get("/models/{model}", tags=["list"])
    def model(model: str) -> dict[str, Any]:
        """One model: its recipe, its measurements, its concepts and classes, its branches."""
        value = store.model(ws, model)
        names = {"concepts": list(value.concepts), "classes": list(value.classes)}
        return {**asdict(store.model_row(ws, model)), **names, "branches": store.branches(ws, model)}

    @api.get("/methods", tags=["list"])
    def methods() -> dict[str, Any]:
        """Every method with its needs and paper."""
        from cbm.methods import methods

        items = [
            {
                "name": m.name,
                "title": m.title,
                "summary": m.summary,
                "paper": m.paper,
                "needs": [n.name for n in m.needs],
            }
            for m in methods()
        ]
        return {"items": items}


def _answers(api: FastAPI, ws: Workspace) -> None:
    @api.post("/models/{model}/predict", tags=["ask"])
    def predict(model: str, body: Images) -> dict[str, Any]:
        """The class of each image with its probability, and the probabilities of all classes."""
        value, x = _asked(ws, model, body)
        probabilities = value.probabilities(x)
        best = probabilities.argmax(1).tolist()
        items = [
            {"prediction": value.classes[c], "probability": float(row[c]), "probabilities": row.tolist()}
            for c, row in zip(best, probabilities, strict=True)
        ]
        return {"model": model, "classes": list(value.classes), "items": items}

    @api.post("/models/{model}/explain", tags=["ask"])
    def explain(model: str, body: Explained) -> dict[str, Any]:
        """Why the model decides as it does for one image; as `pellucid explain --json`, without the counterfactual."""
        from cbm.explanations import explain

        value, x = _asked(ws, model, body.many())
        return {"model": model, **explain(value, x[0], target=body.class_).to_json(body.top)}

    @api.post("/models/{model}/intervene", tags=["ask"])
    def intervene(model: str, body: Intervened) -> dict[str, Any]:
        """The decision on one image before and after a person has set some scores."""
        from cbm.bottleneck import clamp_of
        from cbm.explanations import explain

        value, x = _asked(ws, model, body.many())
        clamp = clamp_of(value.concepts, body.scores)
        before, after = explain(value, x[0]), explain(value, x[0], clamp=clamp)
        return {"model": model, "before": before.to_json(), "after": after.to_json()}


def _changes(api: FastAPI, ws: Workspace) -> None:
    writes = [Depends(_may_write)]

    @api.get("/models/{model}/edits", tags=["edit"])
    def edits(model: str, branch: str = "main") -> dict[str, Any]:
        """The edits of a model on a branch, and those that redo would bring back."""
        return store.history(ws, model, branch).to_json()

    @api.post("/models/{model}/edits", tags=["edit"], dependencies=writes)
    def append(model: str, body: Edits) -> dict[str, Any]:
        """Add edits after those that count."""
        from cbm.edits import from_json

        wanted = [from_json(item) for item in body.edits]
        return store.append(ws, model, wanted, branch=body.branch, expect_version=body.expect_version).to_json()

    @api.post("/models/{model}/edits/undo", tags=["edit"], dependencies=writes)
    def undo(model: str, body: Steps) -> dict[str, Any]:
        """Take back the last edits."""
        return store.undo(ws, model, branch=body.branch, steps=body.steps, expect_version=body.expect_version).to_json()

    @api.post("/models/{model}/edits/redo", tags=["edit"], dependencies=writes)
    def redo(model: str, body: Steps) -> dict[str, Any]:
        """Bring back edits that were undone."""
        return store.redo(ws, model, branch=body.branch, steps=body.steps, expect_version=body.expect_version).to_json()


def _asked(ws: Workspace, model: str, body: Images) -> "tuple[ConceptModel, torch.Tensor]":
    """The model and the embeddings `[n d]` that a request is about."""
    import torch

    if (body.images is None) == (body.embeddings is None) or not (body.images or body.embeddings):
        raise UsageError("give either images, by their ids, or embeddings", hint='{"images": ["..."]}')
    row = store.model_row(ws, model)
    value = store.model(ws, model, branch=body.branch)
    if body.embeddings is not None:
        widths = {len(embedding) for embedding in body.embeddings}
        if len(widths) != 1:
            raise UsageError("the embeddings have different lengths", hint="give one row an image")
        return value, torch.tensor(body.embeddings, dtype=torch.float32)
    if row.dataset is None:
        raise UsageError(f"{model} belongs to no data set here", hint="give embeddings instead")
    manifest = store.dataset_row(ws, row.dataset).fingerprint
    data, places = _embedded(ws, row.dataset, row.encoder, manifest)
    assert body.images is not None
    missing = [image for image in body.images if image not in places]
    if missing:
        raise UsageError(
            f"{row.dataset} has no embedded image {missing[0]!r}", hint="list them: /api/datasets/.../images"
        )
    return value, data.x[[places[image] for image in body.images]]


@lru_cache(maxsize=4)
def _embedded(ws: Workspace, dataset: str, encoder: str, fingerprint: str) -> "tuple[TrainingSet, Mapping[str, int]]":
    """A data set's embeddings and the row of each image; kept until the data set is another."""
    data = store.training_set(ws, dataset, encoder)
    return data, {image: row for row, image in enumerate(data.ids)}
