"""The model card: what a model is, what was measured with intervals and controls, every edit, and what it is not for.

It follows the sections of the Hugging Face template, and its header can be read by the hub. Its ten lines of Python
reproduce the predictions from the files beside it, without Pellucid where the model's parts allow it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cbm.bottleneck import GatedBottleneck, LinearBottleneck, ProfileBottleneck, ReluBottleneck
from cbm.edits import describe
from cbm.heads import LinearHead
from cbm.model import ConceptModel

TAGS = ("concept-bottleneck-model", "interpretability", "pellucid")
Measured = Mapping[str, Mapping[str, Any]]


def model_card(
    model: ConceptModel,
    name: str,
    *,
    measured: Measured | None = None,
    title_of: Callable[[str], str] = str,
    dataset: str = "",
    license: str = "other",
) -> str:
    """A model's card as Markdown with a YAML header.

    Parameters
    ----------
    measured
        What `probes.metrics.evaluate` found, as JSON, by split. Of this very model, edits included.
    title_of
        What a metric is called; its own name unless given.
    dataset
        Name of the data that it was fitted and measured on.
    license
        An identifier that the hub knows, of the model and not of its encoder.
    """
    found = measured or {}
    parts = [
        _header(model, name, found, title_of, dataset, license),
        f"# {_plain(name)}",
        _summary(model, dataset),
        "## Model details",
        _details(model),
        "## Uses",
        _uses(model),
        "## Out-of-scope uses",
        _out_of_scope(model),
        "## How to use",
        "Embed the images with the encoder above, prepared as `preprocess.json` says; then, in the folder of this card:",
        f"```python\n{snippet(model)}\n```",
        "## Evaluation",
        _evaluation(found, title_of),
        "## Bias, risks and limitations",
        _limits(model, found),
        "## Edits",
        _edits(model),
        "## Training",
        _training(model),
        "## Citation",
        "`CITATION.bib` beside this file has the papers to cite.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def licences(model: ConceptModel, license: str = "other") -> str:
    """What the files of a model's bundle are under, and what they are not."""
    return (
        f"model.safetensors, concepts.json: {license}, as their maker chose.\n"
        f"The encoder {model.recipe.encoder_id} is not among these files and has a licence of its own.\n"
        "The images that the model was fitted on are not among these files.\n"
    )


def snippet(model: ConceptModel) -> str:
    """Ten lines of Python or fewer that print the classes of the embeddings in `embeddings.npy`.

    They need numpy and safetensors only where scores and logits are products of the tensors in the bundle; for any
    other model they need Pellucid.
    """
    formula = _formula(model)
    if formula is None:
        lines = [
            "import numpy as np",
            "import torch",
            "import cbm",
            'model = cbm.load(".")',
            'x = torch.from_numpy(np.load("embeddings.npy"))  # [n d], float32',
            "print([model.classes[i] for i in model.predict(x)])",
        ]
        return "\n".join(lines)
    residual = isinstance(model.head, LinearHead) and model.head.residual is not None
    lines = [
        "import json",
        "import numpy as np",
        "from safetensors.numpy import load_file",
        't = load_file("model.safetensors")',
        'x = np.load("embeddings.npy")  # [n d], float32',
        *formula,
        'z = s @ t["head.weight"].T + t["head.bias"]' + (' + x @ t["head.residual"].T' if residual else ""),
        'classes = json.load(open("config.json", encoding="utf-8"))["classes"]',
        "print([classes[i] for i in z.argmax(1)])",
    ]
    return "\n".join(lines)


def _formula(model: ConceptModel) -> list[str] | None:
    """Lines that make scores `s` of embeddings `x` from the tensors `t`; none when there is no such formula."""
    if not isinstance(model.head, LinearHead):
        return None
    affine = 'x @ t["bottleneck.weight"].T + t["bottleneck.bias"]'
    kind = type(model.bottleneck)
    if kind is LinearBottleneck:
        return [f"s = {affine}"]
    if kind is ReluBottleneck:
        return [
            'a = x @ t["bottleneck.atoms"].T + t["bottleneck.offsets"]',
            's = (a * (a > t["bottleneck.thresholds"])) @ t["bottleneck.weight"].T + t["bottleneck.bias"]',
        ]
    if kind is GatedBottleneck:
        return [
            'opening, T = x @ t["bottleneck.gates"].T + t["bottleneck.openings"], t["bottleneck.temperature"]',
            "gate = opening > 0 if T == 0 else 1 / (1 + np.exp(-opening / T))",
            'read = gate * (x @ t["bottleneck.atoms"].T + t["bottleneck.offsets"])',
            's = read @ t["bottleneck.weight"].T + t["bottleneck.bias"]',
        ]
    if kind is ProfileBottleneck:
        signed = isinstance(model.bottleneck, ProfileBottleneck) and model.bottleneck.total is not None
        sign = ' * np.where(x @ t["bottleneck.total"] < 0, -1, 1)' if signed else ""
        return [
            f'length = np.sqrt(((x @ t["bottleneck.gram"]) * x).sum(1)){sign}',
            's = x @ t["bottleneck.weight"].T / length[:, None] + t["bottleneck.bias"]',
        ]
    return None


def _header(
    model: ConceptModel, name: str, found: Measured, title_of: Callable[[str], str], dataset: str, license: str
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=dataset or "unnamed",
            dataset_name=dataset or "unnamed",
            dataset_split=split,
            metric_type=metric,
            metric_name=title_of(metric),
            metric_value=round(float(estimate["value"]), 6),
        )
        for split, evaluation in found.items()
        for metric, estimate in evaluation["metrics"].items()
        if not is_control(metric)
    ]
    data = ModelCardData(
        library_name="pellucid",
        license=license,
        pipeline_tag="image-classification",
        tags=list(TAGS),
        base_model=_hub_name(model.recipe.encoder_id),
        model_name=name,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _hub_name(encoder: str) -> str | None:
    """The hub's name of an encoder, when it came from there."""
    for start in ("hf:", "open_clip:hf-hub:"):
        if encoder.startswith(start):
            return encoder.removeprefix(start).partition("@")[0]
    return None


def _summary(model: ConceptModel, dataset: str) -> str:
    data = f", fitted on {model.recipe.images:,} images of {_plain(dataset)}" if dataset else ""
    return (
        f"A concept model that tells {len(model.classes)} classes by {len(model.concepts)} named concepts{data}. "
        "Every decision is made through the concepts' scores, which can be read, corrected and edited."
    )


def _details(model: ConceptModel) -> str:
    from cbm.methods import method

    known = method(model.recipe.method)
    exact = "contributions, bias and residual add up to the logit" if model.exact else "contributions are leave-one-out"
    return "\n".join(
        [
            f"* **Method:** {known.title} (`{known.name}`); {known.paper}",
            f"* **Encoder:** `{model.recipe.encoder_id}`, contract `{model.recipe.contract}`; its weights are not in this folder",
            f"* **Concepts:** {len(model.concepts)}; their origin and measured quality are in `concepts.json`",
            f"* **Explanations:** {exact}",
            f"* **Classes:** {', '.join(_plain(name) for name in model.classes)}",
        ]
    )


def _uses(model: ConceptModel) -> str:
    return (
        "Classifying images of the kind it was fitted on while looking at the concepts behind each decision; studying and "
        "correcting what the classes are told by. Whoever relies on a concept's name should look at its images first."
    )


def _out_of_scope(model: ConceptModel) -> str:
    return (
        "Images from other places, devices or populations than those measured below; classes that are not listed: the model "
        "always answers with one of its own. Decisions about people without a person who answers for them. A concept's score "
        "is no measurement of a finding, and its weight is no proof of a cause."
    )


def _evaluation(found: Measured, title_of: Callable[[str], str]) -> str:
    if not found:
        return "Nothing was measured."
    return "\n\n".join(_split_tables(split, evaluation, title_of) for split, evaluation in found.items())


def _split_tables(split: str, evaluation: Mapping[str, Any], title_of: Callable[[str], str]) -> str:
    rows = [
        f"| {_named(metric, title_of)} | {metric_text(metric, e['value'])} | {_range(metric, e)} | {int(e['n']):,} |"
        for metric, e in evaluation["metrics"].items()
    ]
    text = [f"### Split {_plain(split)}, {int(evaluation['n']):,} images", _table("Metric", rows)]
    groups = [
        f"| {_plain(g['group'])} | {metric_text('accuracy', g['value'])} | {_range('accuracy', g)} | {int(g['n']):,} |"
        for g in evaluation.get("groups", ())
    ]
    if groups:
        text += ["Factors: accuracy by group, the worst first.", _table("Group", groups)]
    absent = [f"{_named(m, title_of)}: {_plain(reason)}" for m, reason in evaluation.get("not_computed", {}).items()]
    return "\n\n".join([*text, *(["Not computed. " + "; ".join(absent) + "."] if absent else [])])


def _table(first: str, rows: Iterable[str]) -> str:
    return "\n".join([f"| {first} | value | 95 % interval | n |", "| --- | ---: | --- | ---: |", *rows])


def _limits(model: ConceptModel, found: Measured) -> str:
    points = [
        "Accuracy says nothing about the names: compare it with the control of random concepts.",
        "A name is what somebody called a direction. `concepts.json` says where each came from and how well it was found.",
        "The encoder was trained by others on data with biases of their own, which no concept here removes.",
    ]
    for split, evaluation in found.items():
        groups = evaluation.get("groups", ())
        if groups:
            worst = groups[0]
            points.append(
                f"On {_plain(split)} it is worst on “{_plain(worst['group'])}”: {metric_text('accuracy', worst['value'])} "
                f"of {int(worst['n'])} images."
            )
        control, own = (evaluation["metrics"].get(key) for key in ("random_concept_accuracy", "accuracy"))
        if control and own and control["high"] >= own["low"]:
            points.append(
                f"On {_plain(split)} random concepts do about as well, so the names explain little of the accuracy."
            )
    points += [_plain(note) for note in model.recipe.notes]
    return "\n".join(f"* {point}" for point in points)


def _edits(model: ConceptModel) -> str:
    if not model.edits:
        return "None: the model is as it was fitted."
    lines = [f"{number}. {_plain(describe(edit))}" for number, edit in enumerate(model.edits, start=1)]
    return "\n".join(["After the fit, by hand, oldest first:", "", *lines])


def _training(model: ConceptModel) -> str:
    options = ", ".join(f"`{name}={value}`" for name, value in model.recipe.options.items())
    return f"Fitted on {model.recipe.images:,} embedded images with {options or 'the default options'}. The encoder was not trained."


def _named(metric: str, title_of: Callable[[str], str]) -> str:
    return f"Control: {title_of(metric)}" if is_control(metric) else title_of(metric)


def is_control(metric: str) -> bool:
    """Whether a metric is not of the model itself, but of one that it is read against."""
    return metric.startswith(("linear_probe_", "random_", "shuffled_label_"))


def metric_text(metric: str, value: float) -> str:
    """A measured number as cards and reports print it."""
    if metric == "nec":
        return f"{value:.1f}"
    return f"{value:.3f}"


def _range(metric: str, estimate: Mapping[str, Any]) -> str:
    if estimate["low"] == estimate["high"]:
        return "counted"
    return f"{metric_text(metric, estimate['low'])} to {metric_text(metric, estimate['high'])}"


def _plain(text: str) -> str:
    """A name from data as Markdown shows it and does not obey it.

    Examples
    --------
    >>> print(_plain("a|b *c* [x](y)"))
    a\\|b \\*c\\* \\[x\\]\\(y\\)
    """
    shown = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#|!~$" else letter for letter in shown)
