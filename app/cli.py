"""The command line: noun then verb, the same words as the screens.

Exit codes: 0 done, 1 failed with a message and a hint, 2 wrong usage. With `--json` failures are one JSON object too.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from app.commands import (
    cases,
    concepts,
    data,
    edits,
    embed,
    exchange,
    explain,
    fixes,
    health,
    interventions,
    jobs,
    models,
    probes,
    serve,
    tokens,
    train,
    trust,
)
from app.commands.call import to_json
from cbm.errors import Cancelled, PellucidError, UsageError

log = logging.getLogger(__name__)


class Pellucid(click.Group):
    """The group of all commands; every failure ends here, as a sentence and an exit code."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            code = super().main(arguments, prog_name or "pellucid", **extra)
        except (click.UsageError, PellucidError, Cancelled, click.Abort, KeyboardInterrupt) as error:
            code = _fail(error, as_json="--json" in arguments)
        except BrokenPipeError:  # `pellucid ... | head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except Exception as error:  # the outermost edge: one line for the person, the traceback for whoever asks
            log.info("the command failed", exc_info=True)
            told = PellucidError(f"{type(error).__name__}: {error}", hint="run it again with -v for the details")
            told.kind = "bug"
            code = _fail(told, as_json="--json" in arguments)
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a person needs them."""
        return list(self.commands)


def _fail(error: BaseException, *, as_json: bool) -> int:
    kind, message, hint, code = _explained(error)
    if isinstance(error, click.UsageError | UsageError) and int(os.environ.get("RANK") or 0) > 0:
        return 0  # the first of the processes that torchrun started says the same
    if as_json:
        click.echo(to_json({"error": {"kind": kind, "message": message, "hint": hint}}))
    else:
        click.echo(f"error: {message}" + (f"\n{hint}" if hint else ""), err=True)
    return code


def _explained(error: BaseException) -> tuple[str, str, str, int]:
    """Kind, message, hint and exit code."""
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "pellucid"
        return "usage", error.format_message(), f"see: {path} --help", 2
    if isinstance(error, PellucidError):
        return error.kind, error.message, error.hint, 2 if isinstance(error, UsageError) else 1
    return "cancelled", "stopped; what was finished is kept", "run the same command again to go on", 130


@click.group(cls=Pellucid, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pellucid", message="%(version)s")
def main() -> None:
    """Turn an image encoder into a concept bottleneck model, see why it decides, and correct it.

    \b
    Example:
      pellucid demo          build the demo workspace and open it in the browser
    """


for module in (
    serve,
    data,
    embed,
    concepts,
    train,
    models,
    explain,
    interventions,
    cases,
    probes,
    trust,
    edits,
    fixes,
    exchange,
    jobs,
    health,
    tokens,
):
    module.register(main)

if __name__ == "__main__":
    main()
