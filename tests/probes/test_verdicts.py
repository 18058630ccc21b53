from dataclasses import replace

import pytest
import torch

from probes.faithfulness import Use
from probes.intervals import Estimate
from probes.localisation import Localisation
from probes.naming import existence, name_agreement
from probes.parts import Place
from probes.rules import Finding, Rules
from probes.verdicts import Verdict, leaks, locations, usage

N, K, C, D = 800, 50, 20, 96
NAMES = tuple(f"concept {i}" for i in range(K))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def world():
    """Fifty concepts that go with twenty classes, the CAVs of each, and the texts of their names; both a little off."""
    labels = torch.arange(N) % C
    typical = (torch.rand(C, K, generator=seeded(0)) < 0.3).float()
    flip = torch.rand(N, K, generator=seeded(1)) < 0.1
    present = torch.where(flip, 1 - typical[labels], typical[labels])
    directions = torch.linalg.qr(torch.randn(D, K, generator=seeded(2))).Q.T
    x = present @ directions + 0.05 * torch.randn(N, D, generator=seeded(3))
    scores = x @ (directions + 0.03 * torch.randn(K, D, generator=seeded(4))).T
    texts = x @ (directions + 0.06 * torch.randn(K, D, generator=seeded(5))).T
    return labels, present, scores, texts


def ten_false_names(seed: int) -> torch.Tensor:
    """For each concept, whose name it bears: ten pass theirs on among themselves."""
    bearer = torch.arange(K)
    ten = torch.randperm(K, generator=seeded(seed))[:10]
    bearer[ten] = ten.roll(1)
    return bearer


def precision_and_recall(found: tuple[Finding, ...], bearer: torch.Tensor) -> tuple[float, float]:
    flagged = {k for k, finding in enumerate(found) if finding.answer == "no"}
    false = {k for k in range(K) if int(bearer[k]) != k}
    hits = len(flagged & false)
    return hits / max(1, len(flagged)), hits / len(false)


@pytest.mark.parametrize("seed", range(3))
def test_ten_false_names_among_fifty_are_found_by_annotations(world, seed):
    _, present, scores, _ = world
    bearer = ten_false_names(seed)
    names = [NAMES[j] for j in bearer]

    found = existence(scores, names, present, NAMES)

    precision, recall = precision_and_recall(found, bearer)
    assert precision >= 0.8
    assert recall >= 0.8


@pytest.mark.parametrize("seed", range(3))
def test_ten_false_names_among_fifty_are_found_by_the_texts_of_the_names_alone(world, seed):
    _, _, scores, texts = world
    bearer = ten_false_names(seed)

    found = existence(scores, [NAMES[j] for j in bearer], None, (), texts[:, bearer])

    precision, recall = precision_and_recall(found, bearer)
    assert precision >= 0.8
    assert recall >= 0.8


def test_a_true_bank_is_not_flagged_and_a_bank_of_noise_is(world):
    _, present, scores, texts = world
    noise = torch.randn(N, K, generator=seeded(6))

    assert {f.answer for f in existence(scores, NAMES, present, NAMES)} == {"yes"}
    assert {f.answer for f in existence(noise, NAMES, present, NAMES)} == {"no"}
    assert {f.answer for f in existence(noise, NAMES, None, (), texts)} == {"no"}


def test_a_name_of_a_concept_that_goes_with_the_true_one_is_flagged_by_its_rival(world):
    _, present, scores, _ = world
    twin = torch.where(torch.rand(N, generator=seeded(7)) < 0.9, present[:, 0], 1 - present[:, 0])  # AUROC about 0.9
    annotations = torch.cat([present, twin[:, None]], 1)

    [found] = existence(scores[:, :1], ["twin"], annotations, (*NAMES, "twin"))

    assert found.answer == "no"
    assert found.value.value > 0.75
    assert "'concept 0'" in found.why


def test_without_annotations_and_texts_nothing_is_known(world):
    _, _, scores, _ = world

    assert {f.answer for f in existence(scores, NAMES, None, ())} == {"unknown"}


def test_agreement_of_directions_that_were_made_of_texts_is_said_to_mean_nothing(world):
    _, _, _, texts = world

    found = existence(texts, NAMES, None, (), texts, from_text=[True] * K)

    assert found[0].answer == "unknown"
    assert "says nothing" in found[0].why
    own, better = name_agreement(texts, texts)
    assert own.tolist() == pytest.approx([1.0] * K, abs=1e-3)
    assert int(better.sum()) == 0


def test_a_leaking_score_is_flagged_and_a_clean_one_is_not(world):
    labels, present, _, _ = world
    clean = present + 0.1 * torch.randn(N, K, generator=seeded(8))
    code = torch.randn(C, K, generator=seeded(9))

    silent = leaks(clean, NAMES, present, NAMES, labels)
    telling = leaks(clean + 0.3 * code[labels], NAMES, present, NAMES, labels)

    assert {f.answer for f in silent} == {"no"}
    assert {f.answer for f in telling} == {"yes"}
    assert {f.answer for f in leaks(clean, NAMES, None, (), labels)} == {"unknown"}


def place(mass: float, area: float, width: float = 0.05) -> Place:
    found = Localisation(Estimate(mass, mass - width, mass + width, 40), area)
    return Place(found, found, found, ("bill",))


def test_a_map_must_put_twice_the_odds_of_the_area_on_its_part():
    found = locations(
        ["on it", "beside it", "blurred", "everywhere", "unseen"],
        {
            "on it": place(0.3, 0.05),
            "beside it": place(0.05, 0.06, 0.02),
            "blurred": place(0.12, 0.06, 0.1),
            "everywhere": place(0.8, 0.78),
        },
    )

    assert [f.answer for f in found] == ["yes", "no", "unknown", "unknown", "unknown"]
    assert found[0].lift == pytest.approx(6)


def test_a_concept_that_moves_no_decision_is_hardly_used():
    def moving(by: float) -> Use:
        return Use(Estimate(by, by, by, 100), Estimate(by, by, by, 100))

    assert [f.answer for f in usage([moving(0.02), moving(0.0)])] == ["yes", "no"]


def test_the_gravest_answer_is_the_verdict():
    good = Verdict("bill", *(Finding(answer, None, "") for answer in ("yes", "yes", "yes", "no")))
    bad = Finding("no", None, "")

    assert good.word == "holds"
    assert replace(good, used=bad).word == "hardly used"
    assert replace(good, used=bad, leaked=Finding("yes", None, "")).word == "leaks"
    assert replace(good, located=bad, used=bad).word == "wrong place"
    assert replace(good, exists=bad, located=bad).word == "doubtful name"
    assert replace(good, exists=Finding("unknown", None, "")).word == "unchecked"


def test_thresholds_can_be_set(world):
    _, present, scores, _ = world

    assert existence(scores, NAMES, present, NAMES, rules=Rules(auroc=1.01))[0].answer == "no"
