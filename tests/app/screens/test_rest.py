"""The REST interface answers what the screens and the command line answer, to whoever has a token."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient
from streamlit.runtime import Runtime

from app import asgi, store
from app.cli import main
from app.rest import build_rest
from app.tokens import create_token, revoke_token, token_of, tokens
from app.workspace import Workspace
from cbm.errors import StoreError, UnknownName
from cbm.explanations import explain


@pytest.fixture
def image(shore: Workspace) -> str:
    return store.training_set(shore, "shore", "test:shore").ids[0]


@pytest.fixture
def client(shore: Workspace) -> Iterator[TestClient]:
    secret = create_token(shore, "writer", writes=True)
    with TestClient(build_rest(shore.settings), base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client


def test_without_a_valid_token_nothing_is_told(client: TestClient, shore: Workspace) -> None:
    for header in ("", "Bearer wrong", "Basic dXNlcjpwYXNz"):
        answer = client.get("/models", headers={"Authorization": header})
        assert answer.status_code == 401
        assert "shore-posthoc" not in answer.text

    revoke_token(shore, "writer")
    assert client.get("/models").status_code == 401


def test_a_token_is_shown_once_and_kept_as_a_digest(shore: Workspace) -> None:
    secret = create_token(shore, "notebook")

    found = token_of(shore, secret)
    assert found is not None
    assert (found.name, found.writes) == ("notebook", False)
    assert token_of(shore, secret + "x") is None
    database = b"".join(path.read_bytes() for path in shore.settings.home.glob("pellucid.db*"))
    assert secret.encode() not in database
    with pytest.raises(StoreError, match="already is a token"):
        create_token(shore, "notebook")
    with pytest.raises(UnknownName):
        revoke_token(shore, "another")


def test_the_command_makes_lists_and_revokes_tokens(shore: Workspace) -> None:
    home = ["--workspace", str(shore.settings.home)]

    made = CliRunner().invoke(main, ["token", "create", "notebook", "--write", *home])
    secret = made.stdout.strip()

    assert [(row.name, row.writes) for row in tokens(shore)] == [("notebook", True)]
    listed = CliRunner().invoke(main, ["token", "list", *home])
    assert "notebook" in listed.stdout
    assert secret not in listed.stdout
    CliRunner().invoke(main, ["token", "revoke", "notebook", *home])
    assert tokens(shore) == []


def test_lists_are_those_of_the_workspace(client: TestClient) -> None:
    assert [row["name"] for row in client.get("/datasets").json()["items"]] == ["shore"]
    assert [row["name"] for row in client.get("/models").json()["items"]] == ["shore-posthoc"]
    assert "posthoc" in {row["name"] for row in client.get("/methods").json()["items"]}
    model = client.get("/models/shore-posthoc").json()
    assert (model["concepts"][3], model["classes"], model["branches"]) == ("water", ["gull", "wren", "crow"], ["main"])
    images = client.get("/datasets/shore/images", params={"split": "test", "per_page": 2}).json()
    assert (len(images["items"]), images["total"]) == (2, 12)


def test_predictions_are_the_model_s_own_by_id_and_by_embedding(client: TestClient, shore: Workspace) -> None:
    data, model = store.training_set(shore, "shore", "test:shore"), store.model(shore, "shore-posthoc")
    wanted = [model.classes[i] for i in model.predict(data.x).tolist()]

    by_id = client.post("/models/shore-posthoc/predict", json={"images": list(data.ids)}).json()
    by_embedding = client.post("/models/shore-posthoc/predict", json={"embeddings": data.x.tolist()}).json()

    assert [item["prediction"] for item in by_id["items"]] == wanted
    assert [item["prediction"] for item in by_embedding["items"]] == wanted
    assert sum(by_id["items"][0]["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_an_explanation_is_that_of_the_library(client: TestClient, shore: Workspace, image: str) -> None:
    data, model = store.training_set(shore, "shore", "test:shore"), store.model(shore, "shore-posthoc")

    told = client.post("/models/shore-posthoc/explain", json={"image": image, "class": "wren"}).json()

    expected = explain(model, data.x[0], target="wren").to_json()
    assert {key: told[key] for key in ("prediction", "target", "logit", "bias")} == {
        key: expected[key] for key in ("prediction", "target", "logit", "bias")
    }
    parts = sum(concept["contribution"] for concept in told["concepts"])
    assert parts + told["bias"] + told["residual"] == pytest.approx(told["logit"], abs=1e-5)


def test_an_intervention_changes_the_answer_and_not_the_model(client: TestClient, shore: Workspace, image: str) -> None:
    body = {"image": image, "scores": {"small": 50.0}}
    told = client.post("/models/shore-posthoc/intervene", json=body).json()

    assert told["after"]["prediction"] == "wren"
    assert told["before"]["prediction"] == "gull"
    assert store.model_row(shore, "shore-posthoc").edits == 0


def test_edits_are_added_undone_and_redone(client: TestClient, shore: Workspace) -> None:
    drop = {"kind": "DropConcept", "concept": "water"}

    added = client.post("/models/shore-posthoc/edits", json={"edits": [drop], "expect_version": 0}).json()
    assert added["edits"] == [drop]
    undone = client.post("/models/shore-posthoc/edits/undo", json={"expect_version": added["version"]}).json()
    assert (undone["edits"], undone["undone"]) == ([], [drop])
    client.post("/models/shore-posthoc/edits/redo", json={})
    assert "water" not in store.model(shore, "shore-posthoc").concepts
    stale = client.post("/models/shore-posthoc/edits/undo", json={"expect_version": 0})
    assert (stale.status_code, stale.json()["error"]["kind"]) == (409, "stale")


def test_a_token_that_may_only_read_changes_nothing(client: TestClient, shore: Workspace) -> None:
    client.headers["Authorization"] = f"Bearer {create_token(shore, 'reader')}"
    drop = {"edits": [{"kind": "DropConcept", "concept": "water"}]}

    assert client.get("/models").status_code == 200
    assert client.post("/models/shore-posthoc/edits", json=drop).status_code == 403
    assert store.model_row(shore, "shore-posthoc").edits == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/models/shore-posthok/predict", {"images": ["a"]}, 404, "unknown"),
        ("/models/shore-posthoc/predict", {}, 422, "usage"),
        ("/models/shore-posthoc/predict", {"images": []}, 422, "usage"),
        ("/models/shore-posthoc/predict", {"images": ["nobody"]}, 422, "usage"),
        ("/models/shore-posthoc/predict", {"embeddings": [[1.0], [1.0, 2.0]]}, 422, "usage"),
        ("/models/shore-posthoc/predict", {"embeddings": [[1.0, 2.0]]}, 400, "model"),
        ("/models/shore-posthoc/intervene", {"embedding": [0, 0, 0, 0], "scores": {"wing": 1}}, 404, "unknown"),
        ("/models/shore-posthoc/edits", {"edits": [{"kind": "Explode"}]}, 404, "unknown"),
        ("/models/shore-posthoc/edits", {"edits": [{"kind": "SetScore", "concept": 1, "value": 2}]}, 400, "model"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    client: TestClient, path: str, body: dict, status: int, kind: str
) -> None:
    answer = client.post(path, json=body)

    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)


def test_numbers_that_are_none_and_fields_that_nobody_knows_are_refused(client: TestClient) -> None:
    assert client.post("/models/m/predict", content='{"embeddings": [[NaN]]}').status_code == 422
    assert client.post("/models/m/predict", json={"image": ["a"]}).status_code == 422
    assert client.post("/models/m/predict", json={"images": ["a"] * 1001}).status_code == 422


def test_a_request_that_is_too_long_is_cut_off(shore: Workspace) -> None:
    small = replace(shore.settings, max_upload=1)
    secret = create_token(shore, "long")
    client = TestClient(build_rest(small))
    content = b'{"images": ["' + b"a" * (2 << 20) + b'"]}'

    answer = client.post(
        "/models/shore-posthoc/predict", content=content, headers={"Authorization": f"Bearer {secret}"}
    )

    assert answer.status_code == 413


def test_the_interface_describes_itself(client: TestClient) -> None:
    told = client.get("/openapi.json").json()

    assert {"/models/{model}/predict", "/models/{model}/explain", "/models/{model}/edits"} <= set(told["paths"])


@pytest.mark.parametrize("served", [False, True])
def test_it_is_served_only_when_asked_for(shore: Workspace, served: bool) -> None:
    Runtime._instance = None  # Streamlit allows one server a process
    secret = create_token(shore, "mounted")
    client = TestClient(asgi.build(replace(shore.settings, api=served), worker=False), base_url="http://localhost")
    answer = client.get("/api/models", headers={"Authorization": f"Bearer {secret}"})
    Runtime._instance = None

    assert (answer.headers.get("content-type") == "application/json") is served
    assert ("shore-posthoc" in answer.text) is served
