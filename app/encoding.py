"""Embedding a data set: in which precision, in batches of what size, and then the work itself.

Precision changes what embeddings say, so it is never chosen silently: what it costs is measured on the data set's own images,
kept beside the embeddings, and told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app import store
from app.workspace import Workspace
from cbm.errors import EncoderError, UsageError
from cbm.progress import OnProgress

if TYPE_CHECKING:
    from cbm.agreement import Agreement
    from cbm.data import ImageDataset
    from cbm.embedding_store import EmbeddingStore
    from cbm.encoder_ids import EncoderId
    from cbm.encoders import Encoder
    from cbm.process_group import Group
    from cbm.sizing import Sizes

AUTO = "auto"
PRECISIONS = (AUTO, "fp32", "bf16", "int8")
TEXTS = 200  # of which the nearest is compared


@dataclass(frozen=True)
class Chosen:
    """An encoder that is to embed, and what was measured on the way to it.

    Attributes
    ----------
    agreement
        How far it is from single precision, where it is not in it.
    passed_over
        The same of bf16, where the choice was ours and fell on single precision.
    """

    encoder: "Encoder"
    agreement: "Agreement | None" = None
    passed_over: "Agreement | None" = None


def embed_dataset(
    ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress, group: "Group | None" = None
) -> dict[str, Any]:
    """Embed the data set `dataset` with the encoder `encoder`; images that are embedded already cost nothing.

    Further parameters, all optional: `precision` (one of `PRECISIONS`; else the one in the encoder's id), `fast_decode`,
    `insist` (to take a precision that agrees too little), `threads`, `batch` and `decoders` (0 or nothing: measured).
    """
    from cbm.process_group import ALONE
    from cbm.shared_embedding import embed_shared

    group = group or ALONE
    dataset, embeddings = store.dataset(ws, params["dataset"]), store.embedding_store(ws)
    on_progress(0.0, f"loading {params['encoder']}")
    chosen = _encoder(ws, dataset, params, group, on_progress)
    encoder = chosen.encoder
    sizes = group.gather(_sizes(ws, dataset, encoder, params, group, on_progress) if group.leads else None)[0]
    done = embed_shared(
        dataset, encoder, embeddings, group, batch_size=sizes.batch, threads=sizes.threads, decoders=sizes.decoders,
        on_progress=on_progress,
    )  # fmt: skip
    if group.leads:
        store.mark_embedded(ws, params["dataset"], encoder.id, encoder.contract)
    return {
        "dataset": params["dataset"],
        "encoder": encoder.id,
        "contract": encoder.contract,
        "precision": encoder.preprocessing.precision,
        **({"agreement": chosen.agreement.to_dict()} if chosen.agreement else {}),
        **({"passed_over": {"bf16": chosen.passed_over.to_dict()}} if chosen.passed_over else {}),
        "sizes": sizes.to_dict(),
        "computed": done.computed,
        "reused": done.reused,
        "skipped": [{"id": image.id, "reason": image.reason} for image in done.skipped],
    }


def embed_part(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Embed the share `part` (from 0) of `parts` equal ones; the job "embed" comes after all of them."""
    from cbm.embeddings import embed_images
    from cbm.process_group import ALONE, Group

    dataset, share = store.dataset(ws, params["dataset"]), Group(params["part"], params["parts"])
    on_progress(0.0, f"loading {params['encoder']}")
    encoder = _encoder(ws, dataset, params, ALONE, on_progress).encoder
    sizes = _sizes(ws, dataset, encoder, params, ALONE, on_progress)
    done = embed_images(
        dataset, encoder, store.embedding_store(ws), batch_size=sizes.batch, threads=sizes.threads, decoders=sizes.decoders,
        group=share, on_progress=on_progress,
    )  # fmt: skip
    return {"computed": done.computed, "reused": done.reused, "skipped": len(done.skipped)}


def agreements(ws: Workspace, dataset: str) -> "dict[str, Agreement]":
    """What was measured of a data set's embeddings that are not in single precision, by the id of their encoder."""
    from cbm.encoder_ids import EncoderId

    row = store.dataset_row(ws, dataset)
    brief = [id for id in row.encoders if EncoderId.parse(id).precision != "fp32"]
    if not brief:
        return {}
    from cbm.agreement import Agreement  # and with it torch, which takes a second

    embeddings = store.embedding_store(ws)
    noted = {
        id: embeddings.noted(contract, "agreement") for contract, id in embeddings.contracts().items() if id in brief
    }
    return {id: Agreement(**found[row.fingerprint]) for id, found in noted.items() if row.fingerprint in found}


def _wanted(params: Mapping[str, Any]) -> tuple["EncoderId", str]:
    """The encoder's id without a precision, and the precision that is asked for."""
    from cbm.encoder_ids import EncoderId

    id = EncoderId.parse(params["encoder"])
    precision = params.get("precision") or id.precision
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision {precision!r}", hint=f"choose among {', '.join(PRECISIONS)}")
    if id.precision not in ("fp32", precision):
        raise UsageError(
            f"{params['encoder']} is in {id.precision} and not in {precision}", hint="name one of them only"
        )
    fast = bool(params.get("fast_decode")) or id.fast_decode
    return replace(id, precision="fp32", fast_decode=fast), precision


def _encoder(
    ws: Workspace, dataset: "ImageDataset", params: Mapping[str, Any], group: "Group", on_progress: OnProgress
) -> Chosen:
    """The leader measures where something is to be measured; all take what it says."""
    plain, precision = _wanted(params)
    if precision == "fp32":
        return Chosen(store.load_encoder(ws, str(plain)))
    chosen = _compared(ws, dataset, plain, precision, params, on_progress) if group.leads else None
    told = group.gather((chosen.encoder.id, chosen.agreement, chosen.passed_over) if chosen else None)[0]
    return chosen or Chosen(store.load_encoder(ws, told[0]), *told[1:])


def _compared(
    ws: Workspace,
    dataset: "ImageDataset",
    plain: "EncoderId",
    precision: str,
    params: Mapping[str, Any],
    on_progress: OnProgress,
) -> Chosen:
    from cbm.agreement import LEAST_COSINE, LEAST_NEAREST

    if precision == AUTO and not _multiplies_in_bf16(store.device(ws)):
        return Chosen(store.load_encoder(ws, str(plain)))
    brief = store.load_encoder(ws, str(replace(plain, precision="bf16" if precision == AUTO else precision)))
    found, exact = _agreement(ws, dataset, plain, brief, on_progress)
    if precision == AUTO and not found.worthwhile:
        return Chosen(exact or store.load_encoder(ws, str(plain)), passed_over=found)
    if precision != AUTO and not found.enough and not params.get("insist"):
        raise EncoderError(
            f"{brief.id} agrees too little: {found}",
            hint=f"below a mean cosine of {LEAST_COSINE} or the same nearest for {LEAST_NEAREST:.0%} it is used only where you "
            "insist (--insist); or take another precision",
        )
    return Chosen(brief, found)


def _agreement(
    ws: Workspace, dataset: "ImageDataset", plain: "EncoderId", brief: "Encoder", on_progress: OnProgress
) -> tuple["Agreement", "Encoder | None"]:
    """From an earlier run on the same images, or measured now; and the encoder in single precision if it was loaded."""
    import torch

    from cbm.agreement import SAMPLE, Agreement, agreement

    embeddings = store.embedding_store(ws)
    noted = embeddings.noted(brief.contract, "agreement")
    if dataset.fingerprint in noted:
        return Agreement(**noted[dataset.fingerprint]), None
    on_progress(0.0, f"comparing {brief.id} with fp32 on some images")
    exact = store.load_encoder(ws, str(plain))
    frames = _frames(dataset, exact, SAMPLE)
    if not frames:
        raise EncoderError("none of the sampled images can be read", hint="check them: pellucid data validate PATH")
    found = agreement(exact, brief, torch.stack(frames), _texts(dataset))
    embeddings.note(brief.contract, "agreement", {**noted, dataset.fingerprint: found.to_dict()})
    return found, exact


def _frames(dataset: "ImageDataset", encoder: "Encoder", count: int) -> "list[Any]":
    """Pixels of some images from all over the data set; those that cannot be read are left out."""
    import torch

    from cbm.decoding import decode

    rows = range(0, len(dataset.hashes), max(1, len(dataset.hashes) // count))[:count]
    decoded = [decode(dataset.hashes[row], dataset.paths[row], encoder.preprocessing) for row in rows]
    return [torch.from_numpy(frame) for frame in decoded if not isinstance(frame, str)]


def _texts(dataset: "ImageDataset") -> tuple[str, ...]:
    """The data set's own words, and as many of those that ship as are missing."""
    from cbm.words import shipped

    own = dict.fromkeys((*dataset.classes, *dataset.concepts))
    words = [word.text for word in shipped()]
    return tuple(dict.fromkeys((*own, *words[:: max(1, len(words) // TEXTS)])))[:TEXTS]


def _multiplies_in_bf16(device: str) -> bool:
    """Whether products in bfloat16 can be faster there."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    return device == "mps" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _sizes(
    ws: Workspace,
    dataset: "ImageDataset",
    encoder: "Encoder",
    params: Mapping[str, Any],
    group: "Group",
    on_progress: OnProgress,
) -> "Sizes":
    """What is asked for; else what an earlier run on these embeddings used; else what is measured where it is worthwhile."""
    from cbm.sizing import USUAL_BATCH, Sizes, cores_here

    kind = "cpu" if encoder.preprocessing.precision == "int8" else store.device(ws).partition(":")[0]
    asked = Sizes(
        int(params.get("batch") or 0),
        int(params.get("threads") or ws.settings.threads),
        int(params.get("decoders") or 0),
    )
    usual = Sizes(USUAL_BATCH.get(kind, USUAL_BATCH["cpu"]))
    cores = max(1, cores_here() // group.size)
    if kind != "cpu":
        usual = replace(usual, decoders=max(usual.decoders, cores))  # a device is hardly ever waited for
    if kind == "cpu" and not asked.threads and "parts" not in params:  # parts, on several hosts, must not differ
        usual = _measured(ws, dataset, encoder, cores, asked.batch, on_progress) or usual
    return Sizes(asked.batch or usual.batch, asked.threads or usual.threads, asked.decoders or usual.decoders)


def _measured(
    ws: Workspace, dataset: "ImageDataset", encoder: "Encoder", cores: int, batch: int, on_progress: OnProgress
) -> "Sizes | None":
    from cbm.sizing import WORTH_MEASURING, Sizes, measured_sizes

    embeddings = store.embedding_store(ws)
    noted = embeddings.noted(encoder.contract, "sizes")
    if noted:
        return Sizes(**noted)
    if _missing(embeddings, dataset, encoder) < WORTH_MEASURING:
        return None
    on_progress(0.0, "measuring which threads and batches are fastest")
    found = measured_sizes(encoder, lambda count: _frames(dataset, encoder, count), cores=cores, batch=batch)
    embeddings.note(encoder.contract, "sizes", found.to_dict())
    return found


def _missing(embeddings: "EmbeddingStore", dataset: "ImageDataset", encoder: "Encoder") -> int:
    images = list(dict.fromkeys(dataset.hashes))
    return len(images) - int(embeddings.has(encoder.contract, images).sum())
