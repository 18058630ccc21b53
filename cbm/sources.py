"""Ways to a concept bank: phrases that an encoder reads, images that people annotated, and chance as a control.

Whatever the way, a bank says for each concept where it came from, and how well it does on images that were not used
to make it, where that can be measured.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.bank import ConceptBank, Origin, Quality
from cbm.cav import ENOUGH, CavMethod, learn_cavs, project
from cbm.encoders import TextEncoder
from cbm.errors import DataError
from cbm.progress import OnProgress, silent
from cbm.ranking import auroc, chance_of_auroc
from cbm.training_set import TrainingSet

log = logging.getLogger(__name__)

TEMPLATES = ("{}", "a photo of {}", "a picture showing {}", "a close-up of {}")
PROMPTS_AT_ONCE = 256
TWINS_AT_ONCE = 1024  # with 20,000 phrases, 80 MB of cosines
SAME = 0.99999  # cosine above which two phrases are the same to the encoder


def bank_from_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    templates: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    on_progress: OnProgress = silent,
) -> ConceptBank:
    """A concept for each phrase: the mean direction of the phrase in several prompts.

    Parameters
    ----------
    texts
        Phrases such as "striped wing"; each is the name of its concept.
    templates
        Prompts with `{}` in the place of the phrase. By default the encoder's own `templates`, if it has any, else
        a short standard list.
    groups
        Phrase to the name of its group, for those that have one.

    Raises
    ------
    DataError
        If there is no phrase, one is blank or there twice, a template has no `{}`, or the encoder answers with
        something that is not finite.

    References
    ----------
    Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, section 3.1.4.

    Notes
    -----
    Vectors are not centred: a method that standardises scores over its training images takes the common direction of
    all texts off by itself.
    """
    names = _phrases(texts)
    prompts = tuple(getattr(encoder, "templates", TEMPLATES)) if templates is None else tuple(templates)
    _check_templates(prompts)
    vectors = normalize(read_phrases(encoder, names, prompts, on_progress=on_progress), dim=1)
    on_progress(1.0, f"{len(names):,} concepts")
    detail = " | ".join(prompts)
    return ConceptBank(
        names=names,
        vectors=vectors,
        intercepts=torch.zeros(len(names)),
        origin=tuple(Origin("text", detail) for _ in names),
        quality=_twins(names, vectors),
        encoder_id=encoder.id,
        contract=encoder.contract,
        groups={name: group for name, group in (groups or {}).items() if name in names},
    )


def read_phrases(
    encoder: TextEncoder, phrases: Sequence[str], prompts: Sequence[str] = (), *, on_progress: OnProgress = silent
) -> Float[Tensor, "k d"]:
    """The mean of each phrase's unit embeddings in several prompts, by default the encoder's own or the standard ones.

    Means are not of unit length: the shorter one is, the less the prompts agree.
    """
    prompts = tuple(prompts) or tuple(getattr(encoder, "templates", TEMPLATES))
    at_once = max(1, PROMPTS_AT_ONCE // len(prompts))
    rows = []
    for start in range(0, len(phrases), at_once):
        on_progress(start / len(phrases), f"reading {len(phrases):,} phrases")
        few = phrases[start : start + at_once]
        read = encoder.encode_texts([prompt.replace("{}", phrase) for phrase in few for prompt in prompts]).float()
        rows.append(normalize(read, dim=1).reshape(len(few), len(prompts), -1).mean(1))  # [few prompts d] -> [few d]
    return torch.cat(rows)


def read_sentences(
    encoder: TextEncoder, sentences: Sequence[str], *, on_progress: OnProgress = silent
) -> Float[Tensor, "m d"]:
    """Unit embeddings of the bare sentences.

    Raises
    ------
    DataError
        If the encoder answers with zero or with something that is not finite.
    """
    rows = []
    for start in range(0, len(sentences), PROMPTS_AT_ONCE):
        on_progress(start / len(sentences), f"reading {len(sentences):,} sentences")
        rows.append(encoder.encode_texts(list(sentences[start : start + PROMPTS_AT_ONCE])).float())
    vectors = normalize(torch.cat(rows), dim=1)
    unread = torch.nonzero(~(vectors.norm(dim=1) > 0.5)).flatten().tolist()  # NaN is not larger either
    if unread:
        raise DataError(f"the encoder cannot read {sentences[unread[0]]!r}", hint="leave this sentence out")
    return vectors


def bank_from_examples(
    training: TrainingSet,
    *,
    method: CavMethod = "svm",
    c: float = 1.0,
    per_side: int = 100,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> ConceptBank:
    """A concept for each annotated one that can be learned: the direction that tells images with it from the others.

    Learns on training images. Each concept's quality is measured on validation images where those show both sides
    often enough, else on training images that were held out.

    Parameters
    ----------
    method, c, per_side
        How a vector is learned; see `cbm.cav.learn_cavs`.
    seed
        Which images are learned from.

    Returns
    -------
    Without the concepts that have fewer than two training images of a side; these are logged.

    Raises
    ------
    DataError
        If the images are not annotated, none is for training, or no concept can be learned.
    """
    if training.concept_labels is None or not training.concepts:
        raise DataError(
            "the images are not annotated with concepts",
            hint="add columns c:<concept> to the manifest, or build the bank from texts",
        )
    train = _images_of(training, "train")
    assert train.concept_labels is not None
    cavs = learn_cavs(
        train.x, train.concept_labels, method=method, c=c, per_side=per_side, seed=seed, on_progress=on_progress
    )
    kept = [k for k, learned in enumerate(cavs.learned.tolist()) if learned]
    if not kept:
        raise DataError("no concept could be learned from its images", hint="annotate more images of both sides")
    if len(kept) < len(training.concepts):
        left_out = [name for k, name in enumerate(training.concepts) if k not in set(kept)]
        log.warning("left out %d concepts with too few images: %s", len(left_out), ", ".join(left_out))
    names = tuple(training.concepts[k] for k in kept)
    bank = ConceptBank(
        names=names,
        vectors=cavs.vectors[kept],
        intercepts=cavs.intercepts[kept],
        origin=tuple(
            Origin("annotation", f"{method}, c {c:g}, {int(cavs.images[k])} images of each side, seed {seed}")
            for k in kept
        ),
        quality=tuple(cavs.quality[k] for k in kept),
        encoder_id=training.encoder_id,
        contract=training.contract,
        groups={name: training.concept_groups[name] for name in names if name in training.concept_groups},
    )
    return _measured_on_val(bank, training, kept) if "val" in training.split_names else bank


def measure_bank(bank: ConceptBank, data: TrainingSet) -> ConceptBank:
    """The bank with an AUROC for each concept that has none and is annotated under the same name.

    Names are compared without regard to case. Measured on the validation images where those show both sides often
    enough, else on training and validation images together: a text has seen neither. Test images are left alone.
    """
    if data.concept_labels is None:
        return bank
    columns = {name.casefold(): j for j, name in enumerate(data.concepts)}
    scores = data.x @ normalize(bank.vectors, dim=1).T
    quality = list(bank.quality)
    for k, name in enumerate(bank.names):
        if quality[k].auroc is None and name.casefold() in columns:
            labels = data.concept_labels[:, columns[name.casefold()]]
            quality[k] = _measured(quality[k], scores[:, k], labels, data.splits)
    return replace(bank, quality=tuple(quality))


def random_bank(like: ConceptBank, *, seed: int = 0) -> ConceptBank:
    """As many random unit vectors as the bank has concepts: what a bank has to beat.

    Notes
    -----
    Directions are uniform on the sphere. Vectors drawn with the bank's own second moments would lie in the span of the
    concepts, and so carry what they carry; a control must not. Scale does not matter, because methods standardise.
    """
    generator = torch.Generator().manual_seed(seed)
    k, d = like.vectors.shape
    return ConceptBank(
        names=tuple(f"random {i + 1}" for i in range(k)),
        vectors=normalize(torch.randn(k, d, generator=generator), dim=1),
        intercepts=torch.zeros(k),
        origin=tuple(Origin("random", f"seed {seed}") for _ in range(k)),
        quality=tuple(Quality() for _ in range(k)),
        encoder_id=like.encoder_id,
        contract=like.contract,
    )


def _phrases(texts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise DataError("the phrases are one text", hint='give a list, such as ["striped wing", "yellow bill"]')
    names = tuple(text.strip() for text in texts)
    if not names:
        raise DataError("there is no phrase to make a concept of", hint="give at least one, such as striped wing")
    blank = [i for i, name in enumerate(names, start=1) if not name]
    if blank:
        raise DataError(f"phrase {blank[0]} of {len(names)} is blank", hint="take blank lines out of the list")
    first: dict[str, int] = {}
    for i, name in enumerate(names, start=1):
        if name.casefold() in first:
            earlier = first[name.casefold()]
            raise DataError(f"the phrases {earlier} and {i} are the same: {name!r}", hint="take one of them out")
        first[name.casefold()] = i
    return names


def _check_templates(templates: Sequence[str]) -> None:
    wrong = [template for template in templates if "{}" not in template]
    if wrong or not templates:
        given = repr(wrong[0]) if wrong else "an empty list"
        raise DataError(f"a prompt needs a place for the phrase, but got {given}", hint="write {} where it goes")


def _twins(names: Sequence[str], vectors: Float[Tensor, "k d"]) -> tuple[Quality, ...]:
    """Nothing is measured yet, but phrases that the encoder cannot tell apart are."""
    notes = []
    for start in range(0, len(names), TWINS_AT_ONCE):
        cosine = vectors[start : start + TWINS_AT_ONCE] @ vectors.T
        cosine[torch.arange(len(cosine)), torch.arange(len(cosine)) + start] = 0
        closest = cosine.max(1)
        notes += [
            f"the encoder cannot tell this from “{names[j]}”" if value > SAME else ""
            for value, j in zip(closest.values.tolist(), closest.indices.tolist(), strict=True)
        ]
    return tuple(Quality(note=note) for note in notes)


def _images_of(data: TrainingSet, split: str) -> TrainingSet:
    if split not in data.split_names:
        raise DataError(
            f"there is no image in the split {split!r}", hint=f"mark some images as {split} in the manifest"
        )
    return data.split(split)


def _measured_on_val(bank: ConceptBank, data: TrainingSet, columns: Sequence[int]) -> ConceptBank:
    """The bank with each quality from validation images, where they show both sides often enough."""
    val = data.split("val")
    assert val.concept_labels is not None
    distances = project(val.x, bank.vectors, bank.intercepts)
    quality = list(bank.quality)
    for k, column in enumerate(columns):
        labels = val.concept_labels[:, column]
        known = ~labels.isnan()
        shown, distance = labels[known] >= 0.5, distances[known, k]
        positives, negatives = int(shown.sum()), int((~shown).sum())
        if min(positives, negatives) >= ENOUGH:
            right = ((distance[shown] > 0).double().mean() + (distance[~shown] <= 0).double().mean()) / 2
            quality[k] = Quality(
                auroc=auroc(distance, shown),
                accuracy=float(right),
                train_accuracy=quality[k].train_accuracy,
                p_value=chance_of_auroc(distance, shown),
                positives=positives,
                negatives=negatives,
            )
    return replace(bank, quality=tuple(quality))


def _measured(before: Quality, scores: Float[Tensor, "n"], labels: Float[Tensor, "n"], splits: np.ndarray) -> Quality:
    for chosen in (("val",), ("train", "val")):
        images = torch.from_numpy(np.isin(splits, chosen)) & ~labels.isnan()
        positive = labels[images] >= 0.5
        sides = int(positive.sum()), int((~positive).sum())
        if min(sides) >= ENOUGH:
            break
    if min(sides) == 0:
        return replace(before, note=before.note or "no annotated image of one side")
    note = before.note or ("" if min(sides) >= ENOUGH else f"only {min(sides)} images of one side")
    return replace(
        before,
        auroc=auroc(scores[images], positive),
        p_value=chance_of_auroc(scores[images], positive),
        positives=sides[0],
        negatives=sides[1],
        note=note,
    )
