"""Folders of models that the Hugging Face hub publishes: from the cache on this machine, or fetched when that is allowed.

Weights are taken as safetensors only: a pickle may run code.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cbm.errors import EncoderError

CONFIGS = ("*.json", "*.txt", "*.model")  # and vocabularies; weights are asked for by name
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")


def hub_folder(encoder_id: str, repository: str, *, revision: str | None = None, allow_download: bool = False) -> Path:
    """Where the files of a repository are on this machine, at a revision.

    Parameters
    ----------
    encoder_id
        For what is said if they are not here.
    revision
        A branch, tag or commit; the default branch when not given.

    Raises
    ------
    EncoderError
        If they are not here and may not be fetched, or cannot be, or have no weights in safetensors.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*CONFIGS, *WEIGHTS]
    try:
        found = snapshot_download(
            repository, revision=revision, allow_patterns=patterns, local_files_only=not allow_download
        )
    except LocalEntryNotFoundError as error:
        raise not_here(encoder_id) from error
    except HFValidationError as error:
        raise EncoderError(f"{repository!r} is no name of the hub", hint="such a name is ORG/NAME") from error
    except (HfHubHTTPError, OSError) as error:
        raise EncoderError(f"{encoder_id} cannot be fetched: {error}", hint="check the name and the network") from error
    folder = Path(found)
    if not weight_files(folder) and not allow_download and not _pickles(folder):
        raise not_here(encoder_id)
    return checked_folder(folder)


def local_folder(path: str) -> Path:
    """A folder of one's own, checked as `checked_folder` does."""
    return checked_folder(Path(path).expanduser())


def checked_folder(folder: Path) -> Path:
    """The folder, if it holds a config and weights that can be read without running code.

    Raises
    ------
    EncoderError
        If it does not.
    """
    if not (folder / "config.json").is_file():
        raise EncoderError(
            f"{folder} holds no model",
            hint="the folder needs config.json and model.safetensors, as save_pretrained makes",
        )
    if not weight_files(folder):
        kept = f"only as a pickle ({', '.join(pickles)})" if (pickles := _pickles(folder)) else "not at all"
        raise EncoderError(
            f"{folder} holds its weights {kept}, not as safetensors; a pickle may run code, so it is never read",
            hint="choose a revision that has model.safetensors, or save the model again with save_pretrained",
        )
    return folder


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The weights in a folder; several for a model that is saved in parts."""
    return tuple(sorted([*folder.glob("model.safetensors"), *folder.glob("model-*.safetensors")]))


def not_here(encoder_id: str) -> EncoderError:
    """What is said of weights that would have to be fetched."""
    return EncoderError(f"the weights of {encoder_id} are not on this machine", hint=fetch_hint(encoder_id))


def fetch_hint(encoder_id: str) -> str:
    """How to fetch the weights of an encoder once."""
    return f"fetch them once with: pellucid embed DATASET --encoder {encoder_id} --allow-download"


def cached_repositories() -> Iterator[tuple[str, Path]]:
    """Names and folders of the models in the hub's cache that have a config and readable weights."""
    from huggingface_hub import constants

    for repository in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        snapshots = sorted((repository / "snapshots").glob("*"))
        complete = [folder for folder in snapshots if (folder / "config.json").is_file() and weight_files(folder)]
        if complete:
            yield repository.name.removeprefix("models--").replace("--", "/"), complete[-1]


def _pickles(folder: Path) -> Sequence[str]:
    return sorted(path.name for ending in ("*.bin", "*.pt", "*.pth") for path in folder.glob(ending))
