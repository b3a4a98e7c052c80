"""Weights of a model: trained ones from packages, seeded, published at a pinned revision, or a file of the user."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from parity.base.cache import Cache
from parity.base.files import sha256
from parity.base.fingerprint import code, digest
from parity.base.libraries import version, versions
from parity.declarations import Hub, Reference, System, Trained

AUTO = "auto"
OPTION: Mapping[str, Any] = {
    "default": AUTO,
    "help": "trained, seeded, hub, or the path of a checkpoint, PATH or PATH,NAME=FILE with a file that "
    "belongs to it, such as a voice; auto (the default) takes trained ones where they are installed, else seeded ones",
}
"""The option `--weights` of commands."""
_FILE = "checkpoint.pth"
PREFIX, _SEEDED = "weights-", "weights-seeded"


class WeightsError(Exception):
    """The weights that were asked for are not to be had, or are not the ones that were promised."""


@dataclass(frozen=True)
class Weights:
    """Weights of one system.

    source: trained, seeded, hub or path.
    identity: Facts that goldens and artifacts remember of them.
    checkpoint: Makes or fetches the file, at first use.
    folder: Folder of their truth and bounds within the system's folder; empty for the default weights.
    path: The file that the user named.
    files: Files that the user named with it, such as a voice, by the names that the reference has for them.
    """

    source: str
    identity: Mapping[str, str]
    checkpoint: Callable[[], Path]
    folder: str = ""
    path: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    _models: dict[Callable[[Path], Any], Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def option(self) -> str:
        """The value of `--weights` that chooses them."""
        named = [f"{name}={file}" for name, file in self.files.items()]
        return shlex.quote(",".join([str(self.path), *named])) if self.path else self.source

    def model(self, build: Callable[[Path], Any]) -> Any:
        """Return the model that a reference builds of the checkpoint, the same one for all workbenches of a system."""
        if build not in self._models:
            self._models[build] = build(self.checkpoint())
        return self._models[build]

    @property
    def in_git(self) -> bool:
        """True if git keeps their truth: that of trained and of seeded weights, which every machine can have."""
        return self.source in ("trained", "seeded")

    def __str__(self) -> str:
        return " ".join([self.source, *filter(None, map(self.identity.get, ("repository", "file")))])


def choose(reference: Reference, option: str, cache: Cache) -> Weights:
    """Return the weights of one system for `--weights auto|trained|seeded|hub|PATH[,NAME=FILE]`.

    With a path, files that belong to the checkpoint can be named, such as a voice. `auto` takes the trained weights
    where their packages are installed, or else the seeded ones.
    """
    if option == AUTO:
        option = "trained" if reference.trained and not (reference.seed and lacking(reference.trained)) else "seeded"
    if option == "trained":
        return _trained(reference, cache)
    if option == "seeded":
        return _seeded(reference, cache)
    return _published(reference) if option == "hub" else _named(reference, option)


def _named(reference: Reference, option: str) -> Weights:
    """Return the weights in a file. They are told by their tensors, whatever wrote the archive."""
    path, files = _files(option)
    for name in files:
        if name not in reference.published:
            known = ", ".join(reference.published) or "none"
            raise WeightsError(f"--weights {option}: {reference.name} takes no file {name!r}; it takes {known}")
    told = {name: contents(file) for name, file in files.items()}
    identity = {"source": "path", "tensors": contents(path), **told}
    return Weights("path", identity, lambda: path, f"{PREFIX}path-{digest(identity)[:12]}", path, files)


def assert_there(option: str) -> None:
    """Raise an error if the value of `--weights` names a file that is not there."""
    if option not in (AUTO, "trained", "seeded", "hub"):
        _files(option)


def _files(option: str) -> tuple[Path, dict[str, Path]]:
    """Return the checkpoint that `PATH,NAME=FILE` names, and the files that belong to it."""
    path, *others = option.split(",")
    files = {name: Path(file) for name, _, file in (other.partition("=") for other in others)}
    for name, file in {"": Path(path), **files}.items():
        if not file.is_file():
            advice = "Name the file of the " + name if name else "Name a checkpoint, or say trained, seeded or hub"
            named = "" if option == str(file) else f"{file}: "
            raise WeightsError(f"--weights {option}: {named}no such file. {advice}")
    return Path(path), files


def contents(path: Path) -> str:
    """Return a hash of the tensors in a checkpoint, or of its bytes if they are not read as tensors here."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            held = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever the reader of another format, or of a damaged file, raises
        return sha256(path)
    found = hashlib.sha256()
    for name, value in sorted(_leaves(held), key=lambda leaf: leaf[0]):
        if isinstance(value, torch.Tensor):
            found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            found.update(f"{name} {value!r}\n".encode())
    return found.hexdigest()


def _leaves(held: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(held, Mapping):
        for key, value in held.items():
            yield from _leaves(value, f"{name}/{key}")
    elif isinstance(held, list | tuple):
        for position, value in enumerate(held):
            yield from _leaves(value, f"{name}/{position}")
    else:
        yield name, held


def lacking(trained: Trained) -> list[str]:
    """Return the packages of trained weights that are not installed.

    Raises:
        WeightsError: A package has another version than the pinned one, and so may have other weights.
    """
    installed = {name: version(name) for name in trained.packages}
    for name, pinned in trained.packages.items():
        if installed[name] not in (None, pinned):
            other = f"{name} {installed[name]} is installed"
            raise WeightsError(f"{other}; the trained weights are those of {name} {pinned}")
    return [f"{name} {pinned}" for name, pinned in trained.packages.items() if installed[name] is None]


def foreign(folder: str) -> bool:
    """Return whether a folder within a system's folder holds truth that git does not keep."""
    return folder.startswith(PREFIX) and folder != _SEEDED


def _trained(reference: Reference, cache: Cache) -> Weights:
    trained = reference.trained
    if trained is None:
        raise WeightsError(f"{reference.name} has no trained weights in packages; say seeded or hub, or name a file")
    if missing := lacking(trained):
        mend = f"make extra-{trained.extra}" if trained.extra else "make .venv/.ready"
        raise WeightsError(f"trained weights of {reference.name} need {', '.join(missing)}. Install them: {mend}")
    packages = ", ".join(f"{name} {version}" for name, version in trained.packages.items())
    parts: dict[str, Any] = {"write": code(trained.write), "packages": packages}
    identity = {"source": "trained", "packages": packages, "recipe": digest(parts["write"])}
    return Weights("trained", identity, _made(cache, trained.write, parts))


def _seeded(reference: Reference, cache: Cache) -> Weights:
    if reference.seed is None:
        raise WeightsError(f"{reference.name} has no seeded weights; say trained")
    parts: dict[str, Any] = {"seed": code(reference.seed), "packages": versions(*reference.packages, "numpy")}
    # The values depend on names and shapes alone, so versions of libraries are left out of the identity.
    identity = {"source": "seeded", "recipe": digest(parts["seed"])}
    return Weights("seeded", identity, _made(cache, reference.seed, parts), _SEEDED if reference.trained else "")


def _made(cache: Cache, write: Callable[[Path], None], parts: Mapping[str, Any]) -> Callable[[], Path]:
    key = digest(parts)
    return lambda: cache.get("weights", key, lambda folder: write(folder / _FILE), parts) / _FILE


def fitted(system: System, weights: Weights) -> System:
    """Return the system under these weights, in the sizes of their checkpoint."""
    sized = system.sized(weights.checkpoint()) if system.sized and not weights.in_git else system
    return replace(sized, reference=dressed(system.reference, weights))


def dressed(reference: Reference, weights: Weights) -> Reference:
    """Return the reference under these weights; trained and published weights go with voices of theirs."""
    if weights.source == "trained" and reference.trained:
        return replace(reference, cases=tuple(map(reference.trained.dress, reference.cases)))
    files = dict(weights.files)
    if weights.source == "hub":
        files = {name: fetched(hub) for name, hub in reference.published.items()}
    if not files:
        return reference
    return replace(reference, cases=tuple(reference.dress(case, files) for case in reference.cases))


def _published(reference: Reference) -> Weights:
    hub = reference.checkpoint
    if hub is None:
        raise WeightsError(f"{reference.name} declares no published checkpoint; name a file")
    names = {"repository": hub.repository, "file": hub.filename}
    identity = {"source": "hub", **names, "revision": hub.revision, "sha256": hub.sha256}
    # Often a repository is called as the file in it. A newer revision makes the old truth stale, so it is left out.
    parts = (hub.repository.rpartition("/")[2], Path(hub.filename).stem)
    words = dict.fromkeys("-".join(re.findall("[a-z0-9_]+", name.lower())) for name in parts)
    return Weights("hub", identity, lambda: fetched(hub), "-".join([f"{PREFIX}hub", *filter(None, words)]))


def fetched(hub: Hub) -> Path:
    from huggingface_hub import hf_hub_download

    if not re.fullmatch("[0-9a-f]{64}", hub.sha256):
        raise WeightsError(f"{hub.repository} {hub.filename} can't be pinned: {hub.sha256}")
    try:
        path = Path(hf_hub_download(hub.repository, hub.filename, revision=hub.revision))
    except Exception as error:
        raise WeightsError(
            f"{hub.repository} {hub.filename} at {hub.revision[:12]} can't be fetched: {error}. "
            "Without a way to the hub, use the seeded weights or name a checkpoint"
        ) from error
    actual = sha256(path)
    if actual != hub.sha256:
        raise WeightsError(f"{path} has sha256 {actual}; {hub.filename} is pinned to {hub.sha256}. Delete the file")
    return path
