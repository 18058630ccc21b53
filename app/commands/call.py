"""What all commands share: the workspace, an answer as text or as one JSON object, progress on standard error.

A command is a function that takes a `Call` first. Whatever somebody prints while it runs goes to standard error, so
that standard output holds the answer and nothing else.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from app.settings import Settings
from cbm.errors import UsageError

if TYPE_CHECKING:
    from app.commands.together import Together
    from app.workspace import Workspace
    from cbm.process_group import Group

LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
CLEAR = "\r\033[K"  # the terminal's line, of an earlier progress
Function = Callable[..., Any]


@dataclass
class Call:
    """One run of one command.

    Attributes
    ----------
    as_json
        Whether the answer is one JSON object.
    verbosity
        -1 for `-q`, 0, 1 for `-v`, 2 for `-vv`.
    out
        Where the answer goes.
    together
        With whom this process does the command, when `torchrun` started several; only the first of them speaks.
    """

    settings: Settings
    as_json: bool
    verbosity: int
    out: TextIO
    together: "Together | None" = None
    _told: float = field(default=float("-inf"))

    @cached_property
    def ws(self) -> "Workspace":
        """The workspace, made when it is not there yet."""
        from app.workspace import open_workspace

        ws = open_workspace(self.settings)
        click.get_current_context().call_on_close(ws.close)
        return ws

    @property
    def group(self) -> "Group":
        """For work that several processes can share, and for what only one of them may do."""
        from cbm.process_group import ALONE

        return self.together.group if self.together else ALONE

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that is heard."""
        return self.together is None or self.together.group.leads

    def answer(self, value: Mapping[str, Any], lines: str | Iterable[str]) -> None:
        """Print the answer: `value` for programs, `lines` for people."""
        if not self.speaks:
            return
        text = lines if isinstance(lines, str) else "\n".join(lines)
        click.echo(to_json(value) if self.as_json else text, file=self.out)

    def progress(self, fraction: float, message: str) -> None:
        """Tell how far the work is: a line that rewrites itself on a terminal, else a line every few seconds."""
        if self.verbosity < 0 or not self.speaks:
            return
        clock, terminal = time.monotonic(), sys.stderr.isatty()
        if fraction < 1 and clock - self._told < (0.1 if terminal else 5.0):
            return
        self._told = clock
        text = f"{100 * fraction:3.0f} %  {message}"
        end = "\n" if fraction >= 1 or not terminal else ""
        click.echo((CLEAR if terminal else "") + text + end, nl=False, err=True)

    def progress_of_all(self, fraction: float, message: str) -> None:
        """The same for work of which every process does a share: how far all are, and what the first one says."""
        if self.together is None:
            self.progress(fraction, message)
        else:
            among = f"{message} (the first of {self.together.group.size} processes)"
            self.progress(self.together.progress(fraction), among)

    def note(self, text: str) -> None:
        """Say something beside the answer, on standard error."""
        if self.verbosity >= 0 and self.speaks:
            click.echo((CLEAR if sys.stderr.isatty() else "") + text, err=True)


def command(
    group: click.Group, name: str, *, computing: bool = False, shared: bool = False
) -> Callable[[Function], click.Command]:
    """Make a function a command of `group`; it is called with a `Call` and its own arguments.

    Parameters
    ----------
    computing
        Whether it also takes `--device` and `--allow-download`.
    shared
        Whether several processes that `torchrun` starts can do it together; then it uses `Call.group`.
    """

    def decorate(function: Function) -> click.Command:
        @wraps(function)
        def run(workspace: Path | None, as_json: bool, verbose: int, quiet: bool, **arguments: Any) -> None:
            verbosity = -1 if quiet else verbose
            logging.basicConfig(level=LEVELS.get(verbosity, logging.DEBUG), stream=sys.stderr, force=True)
            settings = settings_of(workspace, arguments.pop("device", None), arguments.pop("allow_download", False))
            _limit_threads(settings.threads)
            with _joined(settings, name, shared=shared) as together:
                if together is not None:
                    settings = together.settings
                call = Call(settings, as_json, verbosity, sys.stdout, together)
                with redirect_stdout(sys.stderr):
                    function(call, **arguments)

        made = group.command(name)(run)
        made.params += [*(COMPUTING if computing else []), *COMMON]
        return made

    return decorate


def _joined(settings: Settings, name: str, *, shared: bool) -> "AbstractContextManager[Together | None]":
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        return nullcontext()
    if not shared:
        raise UsageError(f"{name!r} cannot be shared by several processes", hint="start it without torchrun")
    from app.commands.together import joined

    return joined(settings)


def settings_of(workspace: Path | None, device: str | None, allow_download: bool) -> Settings:
    """The settings of the environment with what the command line says instead."""
    settings = Settings.from_environment(os.environ)
    if workspace is not None:
        settings = replace(settings, home=workspace.expanduser().absolute())
    if device is not None:
        settings = replace(settings, device=device)
    if not settings.threads and os.environ.get("OMP_NUM_THREADS", "").isdigit():  # torchrun's, or the person's
        settings = replace(settings, threads=int(os.environ["OMP_NUM_THREADS"]))
    return replace(settings, allow_download=True) if allow_download else settings


def _limit_threads(threads: int) -> None:
    """As for jobs; before torch is imported, which reads it once. Waiting threads must not spin on a busy machine."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(threads or 1))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


COMMON = [
    click.Option(
        ["--workspace"],
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Workspace folder; else PELLUCID_HOME.",
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="Print exactly one JSON object."),
    click.Option(["-v", "--verbose"], count=True, help="Say more on standard error; twice for everything."),
    click.Option(["-q", "--quiet"], is_flag=True, help="No progress on standard error."),
]
COMPUTING = [
    click.Option(["--device"], metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps; else PELLUCID_DEVICE."),
    click.Option(["--allow-download"], is_flag=True, help="Missing encoder weights may be fetched."),
]


def to_json(value: Mapping[str, Any]) -> str:
    """One JSON object; paths become text, and a number that JSON does not have is an error of ours."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> list[str]:
    """Rows as aligned columns under their names; the sentence `empty` when there are none."""
    if not rows:
        return [empty]
    cells = [[shown(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [list(columns), *cells]]


def metric_lines(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Measured metrics as a table, each with its interval and count."""
    rows = [{"metric": name.replace("_", " "), **found} for name, found in metrics.items()]
    return table(rows, ("metric", "value", "low", "high", "n"), empty="nothing was measured")


def shown(value: object) -> str:
    """A value in a table: at most three digits, lists with commas, nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))
