"""`pellucid cases`: what corrections a person made."""

from dataclasses import asdict
from pathlib import Path

import click

from app.commands.call import Call, command, table


def register(main: click.Group) -> None:
    """Add the command to `pellucid`."""

    @command(main, "cases")
    @click.argument("model")
    @click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write them to a CSV file.")
    def cases(call: Call, model: str, out: Path | None) -> None:
        """Show what a person did on a model's cases: every correction in order of time, and their own decisions.

        \b
        Example:
          pellucid cases birds-posthoc --out cases.csv
        """
        from app.casebook import casebook, clock, to_csv
        from cbm.whole_files import replacing

        entries = casebook(call.ws, model)
        rows = [{**asdict(entry), "time": clock(entry)} for entry in entries]
        if out is not None:
            with replacing(out) as temporary:
                temporary.write_text(to_csv(entries), encoding="utf-8", newline="")
        shown = ("time", "image", "what", "concept", "before", "after", "decision", "verdict", "confidence", "text")
        lines = (
            [f"wrote {len(rows)} entries to {out}"] if out else table(rows, shown, empty="nobody has worked on cases")
        )
        call.answer({"model": model, "items": rows}, lines)
