from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from assets.photo import choose, fit_head, measure, words
from assets.photo.anchors import Settings
from assets.photo.fit_head import image_side, kernel, read_head, save, text_side
from assets.photo.photographs import Album


def anchors_of(directions, weights=None):
    return words.Anchors(
        tuple(str(i) for i in range(len(directions))),
        directions,
        torch.ones(len(directions)) if weights is None else weights,
    )


@pytest.fixture
def world(monkeypatch):
    """Forty texts whose sentence embedding turns linearly into the direction of their pictures."""
    monkeypatch.setattr("cbm.photo.JOINT", 6)
    random = torch.Generator().manual_seed(0)
    embedded = normalize(torch.randn(40, 12, generator=random), dim=1)
    turn = torch.randn(12, 6, generator=random)
    directions = normalize((embedded - embedded.mean(0)) @ turn, dim=1) @ torch.eye(6, 10)
    return embedded, anchors_of(directions), normalize(torch.randn(9, 6, generator=random) @ torch.eye(6, 10), dim=1)


def test_texts_point_to_their_pictures(world):
    embedded, anchors, rows = world
    mean = torch.full((10,), 3.0)

    head = fit_head.fit(anchors, embedded, rows, mean, Settings(ridge=1e-4))

    images = image_side(head, mean + 5 * anchors.directions)
    assert (images @ text_side(head, embedded).T).argmax(1).tolist() == list(range(40))


def test_an_anchor_that_counts_more_is_met_better(world):
    embedded, anchors, rows = world
    heavy = replace(anchors, weights=torch.tensor([100.0] + [1.0] * 39))

    def error(some):
        head = fit_head.fit(some, embedded, rows, torch.zeros(10), Settings(ridge=3.0))
        return 1 - float((image_side(head, anchors.directions[:1]) * text_side(head, embedded[:1])).sum())

    assert error(heavy) < 0.2 * error(anchors)


def test_the_solution_is_that_of_the_normal_equations():
    random = torch.Generator().manual_seed(1)
    points = normalize(torch.randn(30, 5, generator=random), dim=1)
    directions, weights = torch.randn(30, 4, generator=random), torch.rand(30, generator=random)

    # with every point a landmark, kernel ridge regression has the closed form (W K + ridge I)^-1 W Y
    among = kernel(points, points, 0.7)
    found = fit_head.solve(among, among, anchors_of(directions, weights), 0.5)

    expected = torch.linalg.solve(torch.diag(weights) @ among + 0.5 * torch.eye(30), weights[:, None] * directions)
    torch.testing.assert_close(among @ found, among @ expected, atol=5e-3, rtol=5e-3)


def test_landmarks_are_the_points_far_from_each_other():
    centres = torch.eye(4).repeat_interleave(5, 0)
    points = normalize(centres + 0.01 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), dim=1)

    assert sorted((fit_head.spread_out(points, 4, seed=0) // 5).tolist()) == [0, 1, 2, 3]


def test_a_head_that_is_written_is_the_one_that_is_read(world, tmp_path):
    embedded, anchors, rows = world
    head = fit_head.fit(anchors, embedded, rows, torch.zeros(10), Settings())

    save(head, tmp_path / "head.safetensors")
    again = read_head(tmp_path / "head.safetensors")

    assert again.width == pytest.approx(0.7)
    torch.testing.assert_close(text_side(again, embedded), text_side(head, embedded), atol=5e-3, rtol=0)


def test_the_search_keeps_what_is_better():
    wanted = {"looks": 3, "emoji": 0.1, "ridge": 1}

    def figures(settings):
        missed = sum(getattr(settings, name) != value for name, value in wanted.items())
        return dict.fromkeys((*choose.COLOURS, *choose.OBJECTS), 1 - 0.1 * missed)

    best, history = choose.descend(SimpleNamespace(figures=figures), Settings())

    assert best == replace(Settings(), **wanted)
    others = [len(set(values) - {getattr(Settings(), name)}) for name, values in choose.CHOICES.items()]
    assert len(history) == 1 + sum(others)


def test_the_score_weighs_colours_and_objects_equally():
    figures = dict.fromkeys(choose.COLOURS, 0.6) | dict.fromkeys(choose.OBJECTS, 1.0)

    assert choose.score(figures) == pytest.approx(0.8)


def test_intervals_hold_the_mean_and_resample_groups():
    random = np.random.default_rng(0)
    truth = np.repeat(random.integers(0, 2, (20, 3)), 5, axis=0).astype(float)
    scores = truth + random.normal(0, 1, truth.shape)
    album = Album((), (("a", "x"), ("a", "y"), ("b", "z")), truth, tuple(str(i // 5) for i in range(100)))

    (kind, figure, (low, high)), (other, *_) = measure.intervals(album, scores)

    assert (kind, other) == ("a", "b")
    assert (figure["concepts"], figure["photographs"]) == (2, 100)
    assert 0.5 < low < figure["auroc"] < high < 1
