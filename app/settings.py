"""Settings: one frozen value, read once from the `PELLUCID_*` environment variables.

Whoever needs a setting is given the value; nothing else in Pellucid reads the environment. `to_environment` is the way
back, for the worker's child processes.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from cbm.config import build, option

PREFIX = "PELLUCID_"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """Where things are kept and what may be used.

    Attributes
    ----------
    home
        The workspace folder: database, embeddings, models, thumbnails, logs.
    database_url
        SQLAlchemy URL; empty means a SQLite file in `home`.
    """

    home: Path = option(Path(), help="workspace folder")
    database_url: str = option("", help="database URL; empty means a SQLite file in the workspace")
    device: str = option("auto", help="auto, cpu, cuda, cuda:N or mps")
    encoder: str = option("builtin:demo", help="the encoder that forms start with")
    allow_download: bool = option(False, help="whether encoders may be downloaded")
    threads: int = option(
        0, help="computing threads of each job; 0 for as many as pay where that is measured, else 1", low=0, high=1024
    )
    max_upload: int = option(200, help="largest upload, in megabytes", low=1, high=1_000_000)
    server_paths: str = option("any", help="folders whose files may be named by path in the browser; any, or none")
    api: bool = option(False, help="whether the REST interface is served under /api")
    heartbeat: float = option(2.0, help="seconds between two signs of life of a running job", low=0.05, high=600)
    dead_after: float = option(30.0, help="seconds without a sign of life after which a job is taken over", low=0.1)
    grace: float = option(10.0, help="seconds that a cancelled job gets before it is killed", low=0.0, high=3600)
    max_attempts: int = option(3, help="times that a job is started before it counts as failed", low=1, high=100)
    job_timeout: float = option(0.0, help="seconds that a job may take; 0 means no limit", low=0)
    job_memory: int = option(0, help="megabytes of address space that a job may take; 0 means no limit", low=0)
    extensions: str = option("", help="modules, separated by commas, that add job kinds or encoders to the workers")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read `PELLUCID_HOME`, `PELLUCID_DATABASE_URL` and so on; what is absent or empty has its default.

        Raises
        ------
        UsageError
            If a value has the wrong type or is out of its bounds.
        """
        names = [f.name for f in fields(cls)]
        given = {name: environ[PREFIX + name.upper()] for name in names if environ.get(PREFIX + name.upper())}
        home = Path(given.pop("home", "") or default_home(environ)).expanduser().absolute()
        return build(cls, {"home": home, **given})

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads back as this value.

        Examples
        --------
        >>> settings = Settings(home=Path("/data"), threads=4)
        >>> Settings.from_environment(settings.to_environment()) == settings
        True
        """
        return {PREFIX + f.name.upper(): str(getattr(self, f.name)) for f in fields(self)}

    @property
    def url(self) -> str:
        """The database URL, with the driver that we ship for PostgreSQL."""
        if not self.database_url:
            return f"sqlite:///{self.home / 'pellucid.db'}"
        scheme, separator, rest = self.database_url.partition("://")
        return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgres", "postgresql") else self.database_url

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload in bytes."""
        return self.max_upload * MEGABYTE

    @property
    def extension_modules(self) -> tuple[str, ...]:
        """Names of the modules in `extensions`."""
        return tuple(name.strip() for name in self.extensions.split(",") if name.strip())


def default_home(environ: Mapping[str, str]) -> Path:
    """The workspace of a person who said nothing: a folder in the user's data directory."""
    if environ.get("XDG_DATA_HOME"):
        return Path(environ["XDG_DATA_HOME"]) / "pellucid"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA", "~/AppData/Local")) / "pellucid"
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/pellucid")
    return Path("~/.local/share/pellucid")
