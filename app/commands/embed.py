"""`pellucid embed`: from pictures to embeddings."""

import time
from typing import Any

import click

from app.commands.call import Call, command
from cbm.errors import Cancelled, JobError, UsageError

PRECISIONS = click.Choice(["auto", "fp32", "bf16", "int8"])  # those of `app.encoding`, imported when it is needed


def register(main: click.Group) -> None:
    """Add the command to `pellucid`."""

    @command(main, "embed", computing=True, shared=True)
    @click.argument("dataset")
    @click.option("--encoder", help="Encoder id; else PELLUCID_ENCODER or builtin:demo.")
    @click.option("--precision", type=PRECISIONS, help="Of the products; else the one in the id, or fp32.")
    @click.option("--insist", is_flag=True, help="Take a precision that agrees too little with fp32.")
    @click.option("--fast-decode", is_flag=True, help="Decode large JPEGs at a fraction of their size.")
    @click.option("--threads", type=click.IntRange(0, 1024), help="Computing threads; 0 or nothing: measured.")
    @click.option("--jobs", type=click.IntRange(1, 10_000), metavar="N", help="Let workers do it, in N parts.")
    @click.option("--batch", type=click.IntRange(0, 65536), help="Images at once; 0 or nothing: measured.")
    def embed(call: Call, dataset: str, encoder: str | None, jobs: int | None, **options: Any) -> None:
        """Embed the images of a data set.

        Goes on where it stopped, and unchanged images are never computed twice. With --jobs the work is queued for
        workers on any host, and this command only waits for them; torchrun shares it between processes at once.

        A precision other than fp32 makes other embeddings, of another encoder (builtin:demo:bf16). How far they are
        from fp32 is measured on some of the images, and told. With auto, bf16 is taken where the processor has it and
        where it is faster and agrees.

        \b
        Example:
          pellucid embed birds --encoder builtin:demo --precision auto
        """
        from app import tasks

        chosen = encoder or call.settings.encoder
        params = {"dataset": dataset, "encoder": chosen, **options}
        if jobs is None:
            result = tasks.run(call.ws, "embed", params, call.progress_of_all, call.group)
        else:
            result = _by_workers(call, params, jobs)
        call.answer(result, _lines(result, chosen))


def _lines(result: dict[str, Any], asked: str) -> list[str]:
    """What an embedding run did, for people."""
    computed, reused, encoder = result["computed"], result["reused"], result["encoder"]
    lines = [f"{result['dataset']} with {encoder}: {computed:,} images embedded, {reused:,} were there"]
    told = {encoder: result.get("agreement"), f"{encoder}:bf16, not taken,": result.get("passed_over", {}).get("bf16")}
    if any(told.values()):
        from cbm.agreement import Agreement

        lines += [f"{what} {Agreement(**found)}" for what, found in told.items() if found]
    if encoder != asked:
        lines.append(f"other commands know these embeddings by --encoder {encoder}")
    return lines + [f"not embedded: {image['id']}: {image['reason']}" for image in result["skipped"]]


def _by_workers(call: Call, params: dict[str, Any], parts: int) -> dict[str, Any]:
    """What `embed` says, after workers have done it in so many parts."""
    from app import jobs, store

    if call.group.size > 1:
        raise UsageError("--jobs and torchrun both share the work", hint="use one of them")
    if params["precision"] == "auto":
        raise UsageError("workers do not choose a precision together", hint="name it, or embed without --jobs")
    store.dataset_row(call.ws, params["dataset"])
    shares = [{**params, "part": part, "parts": parts} for part in range(parts)]
    row = jobs.enqueue_in_parts(call.ws, "embed", params, "embed-part", shares)
    call.note(f"job {row.id} waits for workers; start any number with: pellucid worker")
    while (row := jobs.job(call.ws, row.id)).active:
        call.progress(min(row.progress, 0.99), row.message or "waiting for a worker")
        time.sleep(0.5)
    if row.state == "cancelled":
        raise Cancelled
    if row.error is not None:
        raise JobError(row.error["message"], hint=row.error["hint"])
    done = sum((part.result or {}).get("computed", 0) for part in jobs.parts(call.ws, row.id))
    result = row.result or {}
    return {**result, "computed": result["computed"] + done, "reused": result["reused"] - done, "job": row.id}
