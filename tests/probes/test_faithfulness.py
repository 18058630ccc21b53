from dataclasses import replace

import pytest
import torch

from cbm.bottleneck import LinearBottleneck
from cbm.errors import DataError
from cbm.heads import LinearHead
from cbm.methods import fit
from cbm.model import ConceptModel, Recipe
from probes.faithfulness import contributions, faithfulness_curves, map_agreement, uses


@pytest.fixture(scope="module")
def model(planted):
    """Four classes that look at their own two concepts only, and never at "noise"."""
    weight = torch.zeros(4, 9)
    for row, pair in enumerate(planted.class_concepts.values()):
        for concept in pair:
            weight[row, planted.training.concepts.index(concept)] = 5.0
    bottleneck = LinearBottleneck(planted.bank.vectors, torch.zeros(9))
    return ConceptModel(
        planted.training.concepts,
        planted.training.classes,
        bottleneck,
        LinearHead(weight, torch.zeros(4)),
        Recipe("planted"),
    )


def test_taking_the_reasons_away_costs_more_than_taking_anything_away(planted, model):
    found = faithfulness_curves(model, planted.training)

    assert found.counts[0] == 0
    assert found.counts[-1] == 9
    assert found.deletion_gap.low > 0.05
    assert found.comprehensiveness.low > found.comprehensiveness_random.high
    assert found.sufficiency.high < found.sufficiency_random.low


def test_curves_end_where_everything_is_typical(planted, model):
    found = faithfulness_curves(model, planted.training)

    assert found.deletion[0] == found.insertion[-1] == found.deletion_random[0]
    assert found.deletion[-1] == found.insertion[0] == found.insertion_random[0]


def test_an_explanation_in_random_order_gains_nothing(planted, model, monkeypatch):
    monkeypatch.setattr(
        "probes.faithfulness.contributions",
        lambda model, scores, *rest: torch.rand(scores.shape, generator=torch.Generator().manual_seed(9)),
    )

    found = faithfulness_curves(model, planted.training)

    assert found.deletion_gap.low < 0.02
    assert found.deletion_gap.high > -0.02


def test_a_concept_without_weight_is_not_used_and_the_others_are(planted, model):
    found = uses(model, planted.training)

    noise = found[planted.training.concepts.index("noise")]
    assert (noise.changed.value, noise.moved.value) == (0.0, 0.0)
    assert min(use.moved.low for use in found[:-1]) > 0.002


def test_a_curved_head_gets_the_same_answers_by_leaving_out(planted, model):
    class Plain:
        """The same linear head, which does not say that it is one."""

        def __call__(self, s, x):
            return model.head(s, x)

        def contributions(self, s, x, target):
            raise NotImplementedError("not asked for")

        def effects(self):
            raise NotImplementedError("not asked for")

    x = planted.training.x[:20]
    scores, typical, decided = model.scores(x), model.scores(planted.training.x).mean(0), model.predict(x)
    curved = replace(model, head=Plain())

    lost = contributions(curved, scores, typical, x, decided)

    expected = (scores - typical) * model.head.weight[decided]
    torch.testing.assert_close(lost, expected, atol=1e-4, rtol=0)
    assert uses(curved, planted.training)[0].changed == uses(model, planted.training)[0].changed


def test_a_model_without_concepts_is_refused(planted):
    with pytest.raises(DataError, match="without concepts"):
        faithfulness_curves(fit("linear-probe", planted.training), planted.training)


def test_maps_agree_with_themselves_and_not_with_chance():
    maps, others = (torch.randn(40, 8, 8, generator=torch.Generator().manual_seed(s)) for s in (0, 1))

    assert map_agreement(maps, 2 * maps + 1).value == pytest.approx(1)
    assert map_agreement(maps, others).value == pytest.approx(0.1, abs=0.03)  # mean size of noise over 64 places
