import contextlib
import hashlib
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_tensors

from cbm import bundle_files
from cbm.bank import ConceptBank, Origin, Quality
from cbm.bottleneck import LinearBottleneck
from cbm.edits import RenameConcept, SetScore, apply
from cbm.errors import BundleError
from cbm.heads import LinearHead
from cbm.io import fingerprint, load, load_bank, read_files, save, save_bank
from cbm.model import ConceptModel, Recipe

NAMES = ("striped wing", 'a "quoted", name', "Flügel 翼")


def bank() -> ConceptBank:
    return ConceptBank(
        NAMES,
        torch.randn(3, 4, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0.0, 1e-30, -5.0]),
        (Origin("text", "a photo of {}"), Origin("annotation"), Origin("random")),
        (Quality(), Quality(0.9, 0.8, 0.95, 0.001, 20, 30, "few"), Quality(auroc=1.0)),
        "planted",
        "contract",
        {"striped wing": "wing"},
    )


def model(*, residual: bool = True, edited: bool = True) -> ConceptModel:
    numbers = torch.Generator().manual_seed(2)
    weight = torch.randn(2, 3, generator=numbers)
    made = ConceptModel(
        NAMES,
        ("wren", "teal"),
        LinearBottleneck(torch.randn(3, 4, generator=numbers), torch.randn(3, generator=numbers)),
        LinearHead(weight, torch.tensor([1.5, -0.0]), torch.randn(2, 4, generator=numbers) if residual else None),
        Recipe("posthoc", {"alpha": 0.99, "lam": None, "loss": "multinomial"}, "planted", "contract", 12, ("a note",)),
        bank(),
    )
    return apply(made, [SetScore(NAMES[1], 2.0), RenameConcept(NAMES[0], "barred wing")]) if edited else made


@pytest.mark.parametrize("name", ["model", "model.zip"])
@pytest.mark.parametrize("residual", [True, False])
def test_a_model_comes_back_bit_for_bit(tmp_path, name, residual):
    made = model(residual=residual)
    x = torch.randn(5, 4)

    read = load(save(made, tmp_path / name))

    assert fingerprint(read) == fingerprint(made)
    assert torch.equal(read.logits(x), made.logits(x))
    assert torch.equal(read.bottleneck.weight, made.bottleneck.weight)
    assert (read.concepts, read.classes, read.recipe, read.edits) == (
        made.concepts,
        made.classes,
        made.recipe,
        made.edits,
    )
    assert read.bank.origin == made.bank.origin
    assert read.bank.quality == made.bank.quality
    assert read.bank.groups == made.bank.groups


def test_a_model_without_concepts_and_bank_comes_back(tmp_path):
    probe = ConceptModel(
        (), ("a", "b"), LinearBottleneck(torch.zeros(0, 4), torch.zeros(0)),
        LinearHead(torch.zeros(2, 0), torch.ones(2), torch.ones(2, 4)), Recipe("linear-probe"),
    )  # fmt: skip

    read = load(save(probe, tmp_path / "probe.zip"))

    assert read.bank is None
    assert torch.equal(read.logits(torch.ones(1, 4)), torch.full((1, 2), 5.0))


def test_a_bank_comes_back(tmp_path):
    read = load_bank(save_bank(bank(), tmp_path / "bank"))

    assert fingerprint(read) == fingerprint(bank())
    assert read.quality == bank().quality


def test_equal_models_make_equal_files(tmp_path):
    first, second = save(model(), tmp_path / "first.zip"), save(model(), tmp_path / "second.zip")

    assert first.read_bytes() == second.read_bytes()


def test_zips_are_compressed_and_readable_by_others(tmp_path):
    path = save(model(), tmp_path / "model.zip", card="word " * 1000)

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("README.md").compress_size < 200


def test_fingerprints_tell_models_apart():
    made = model(edited=False)
    changed_bias = replace(made, head=replace(made.head, bias=made.head.bias + 1e-7))
    renamed_class = replace(made, classes=("wren", "duck"))

    prints = {fingerprint(m) for m in (made, changed_bias, renamed_class, model(residual=False), model())}

    assert len(prints) == 5


def test_what_is_saved_beside_the_model_is_kept(tmp_path):
    path = save(model(), tmp_path / "model", metrics={"accuracy": 0.9}, card="# Card", licenses="MIT")

    files = read_files(path)

    assert json.loads(files["metrics.json"]) == {"accuracy": 0.9}
    assert files["README.md"] == b"# Card"
    assert files["LICENSES"] == b"MIT"


def test_saving_again_replaces_the_bundle_whole(tmp_path):
    path = save(model(), tmp_path / "model", card="old")

    save(model(edited=False), path)

    assert "README.md" not in read_files(path)
    assert fingerprint(load(path)) == fingerprint(model(edited=False))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["photos", "photos.zip", "notes.zip"])
def test_what_is_no_bundle_is_never_overwritten(tmp_path, name):
    path = tmp_path / name
    if name == "photos":
        path.mkdir()
        (path / "SHA256SUMS").write_text("")
        (path / "holiday.jpg").write_text("precious")
    elif name == "photos.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("holiday.jpg", "precious")
    else:
        path.write_text("precious")

    with pytest.raises(BundleError, match="is not a bundle"):
        save(model(), path)

    assert path.exists()


def test_a_place_that_cannot_be_written_is_an_explained_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(BundleError, match="cannot be written"):
        save(model(), tmp_path / "file" / "model")


def resealed(path: Path) -> Path:
    """The folder with checksums that fit what is in it, as an attacker would write them."""
    files = [entry for entry in path.iterdir() if entry.name != "SHA256SUMS"]
    sums = "".join(f"{hashlib.sha256(entry.read_bytes()).hexdigest()}  {entry.name}\n" for entry in files)
    (path / "SHA256SUMS").write_text(sums)
    return path


def edit_json(path: Path, name: str, change) -> Path:
    value = json.loads((path / name).read_text())
    change(value)
    (path / name).write_text(json.dumps(value))
    return resealed(path)


@pytest.fixture
def bundle(tmp_path) -> Path:
    return save(model(), tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "concepts.json", "edits.jsonl", "preprocess.json"]
)
def test_one_changed_byte_is_noticed(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(bytes(content))

    with pytest.raises(BundleError, match=f"{name} does not match its checksum"):
        load(bundle)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "SHA256SUMS"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()

    with pytest.raises(BundleError, match=f"lacks {name}"):
        load(bundle)


def test_every_damaged_byte_of_a_zip_is_refused_or_harmless(tmp_path):
    path = save(model(), tmp_path / "model.zip")
    content, expected = path.read_bytes(), fingerprint(model())

    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(BundleError):
            assert fingerprint(load(path)) == expected  # a byte that says nothing, such as a date


def test_a_cut_off_zip_is_refused(tmp_path):
    path = save(model(), tmp_path / "model.zip")
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(BundleError):
        load(path)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("name", ["model.pt", "head.pkl", "script.py"])
def test_a_pickle_in_the_bundle_is_refused_unread(bundle, name):
    (bundle / name).write_bytes(pickle.dumps(Bomb()))

    with pytest.raises(BundleError, match="does not belong there; nothing of it was read"):
        load(resealed(bundle))


def test_a_pickle_in_place_of_the_tensors_is_not_executed(bundle):
    (bundle / "model.safetensors").write_bytes(pickle.dumps(Bomb()))

    with pytest.raises(BundleError, match="not a safetensors file"):
        load(resealed(bundle))


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "..\\evil.json", "sub/config.json"])
def test_names_that_leave_the_bundle_are_refused(tmp_path, name):
    path = save(model(), tmp_path / "in" / "model.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "{}")

    with pytest.raises(BundleError, match="does not belong there"):
        load(path)

    assert not (tmp_path / "evil.json").exists()


def test_symbolic_links_and_folders_are_refused(bundle, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (bundle / "metrics.json").symlink_to(secret)

    with pytest.raises(BundleError, match=r"'metrics.json', which is not a plain file"):
        load(bundle)

    (bundle / "metrics.json").unlink()
    (bundle / "metrics.json").mkdir()
    with pytest.raises(BundleError, match="not a plain file"):
        load(bundle)


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = save(model(), tmp_path / "bomb.zip", card="0" * 3_000_000)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(bundle_files, "LARGEST_TEXT", 1_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))

    with pytest.raises(BundleError, match=r"README\.md has 3,000,000 bytes; the limit is 1,000,000"):
        load(path)


def test_a_name_twice_in_a_zip_is_refused(tmp_path):
    path = save(model(), tmp_path / "model.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")

    with pytest.raises(BundleError, match="one name twice"):
        load(path)


def test_a_newer_schema_asks_for_an_update(bundle):
    edit_json(bundle, "config.json", lambda config: config.update(schema=2))

    with pytest.raises(BundleError, match="schema 2; this version of Pellucid reads up to 1") as caught:
        load(bundle)

    assert caught.value.hint == "update Pellucid"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["bottleneck.weight", "head.bias", "head.residual"])
def test_numbers_that_are_not_finite_are_refused(bundle, name, value):
    tensors = parts()
    tensors[name].flatten()[0] = value
    (bundle / "model.safetensors").write_bytes(save_tensors(tensors))

    with pytest.raises(BundleError, match=f"{name} holds numbers that are not finite"):
        load(resealed(bundle))


def parts() -> dict[str, torch.Tensor]:
    made = model()
    return {
        "bottleneck.weight": made.bottleneck.weight.clone(),
        "bottleneck.bias": made.bottleneck.bias.clone(),
        "head.weight": made.head.weight.clone(),
        "head.bias": made.head.bias.clone(),
        "head.residual": made.head.residual.clone(),
        "bank.vectors": made.bank.vectors.clone(),
        "bank.intercepts": made.bank.intercepts.clone(),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"head.weight": torch.zeros(3, 3)},
        {"head.weight": torch.zeros(2, 3, dtype=torch.float64)},
        {"head.weight": torch.zeros(2, 3, dtype=torch.int64)},
        {"bottleneck.weight": torch.tensor(1.0)},
        {"bottleneck.bias": torch.zeros(4)},
        {"head.residual": torch.zeros(2, 5)},
        {"bank.vectors": torch.zeros(3, 4)},
        {"bank.vectors": torch.ones(2, 4)},
        {"surprise": torch.zeros(1)},
    ],
)
def test_tensors_that_do_not_fit_are_refused(bundle, change):
    (bundle / "model.safetensors").write_bytes(save_tensors(parts() | change))

    with pytest.raises(BundleError):
        load(resealed(bundle))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda config: config.pop("recipe")),
        ("config.json", lambda config: config.update(recipe=[])),
        ("config.json", lambda config: config["recipe"].update(surprise=1)),
        ("config.json", lambda config: config.update(classes=[1, 2])),
        ("config.json", lambda config: config.update(classes="ab")),
        ("config.json", lambda config: config.update(schema="one")),
        ("concepts.json", lambda concepts: concepts.update(names=[1, 2, 3])),
        ("concepts.json", lambda concepts: concepts.update(names=["a", "a", "b"])),
        ("concepts.json", lambda concepts: concepts.update(bank={})),
        ("concepts.json", lambda concepts: concepts.update(bank=3)),
        ("concepts.json", lambda concepts: concepts["bank"].update(names=["a", "b", "c"])),
        ("concepts.json", lambda concepts: concepts["bank"].update(quality=[{}, {"auroc": 1, "x": 2}, {}])),
    ],
)
def test_records_that_do_not_fit_are_refused(bundle, name, change):
    edit_json(bundle, name, change)

    with pytest.raises(BundleError):
        load(bundle)


@pytest.mark.parametrize("text", ["[", '"x"', '{"kind": "Explode"}', "\udcff"])
def test_edits_that_are_none_are_refused(bundle, text):
    (bundle / "edits.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(BundleError):
        load(resealed(bundle))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b"[" * 100_000])
def test_json_that_is_none_is_refused(bundle, content):
    (bundle / "config.json").write_bytes(content)

    with pytest.raises(BundleError):
        load(resealed(bundle))


@pytest.mark.parametrize("place", ["nothing", "text"])
def test_what_is_no_bundle_at_all_is_refused(tmp_path, place):
    (tmp_path / "text").write_text("hello")

    with pytest.raises(BundleError, match="is not a bundle"):
        load(tmp_path / place)
