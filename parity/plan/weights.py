"""Weights of a model: seeded, published at a pinned revision, or a checkpoint that the user names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from parity.base.cache import Cache
from parity.base.fingerprint import code, digest, libraries
from parity.declarations import Hub, Reference, System

_FILE = "checkpoint.pth"


class WeightsError(Exception):
    """The weights that were asked for are not to be had, or are not the ones that were promised."""


@dataclass(frozen=True)
class Weights:
    """`source` is seeded, hub or path; `identity` is what a golden and an artifact remember of them."""

    source: str
    identity: Mapping[str, str]
    find: Callable[[], Path]
    path: Path | None = None

    def checkpoint(self) -> Path:
        """Return the file, made or fetched at first use."""
        return self.find()

    @property
    def folder(self) -> str:
        """Folder of these weights' truth and bounds within the system's folder; empty for seeded ones.

        For published weights it names the checkpoint, but not its revision: a newer one makes the old truth stale.
        """
        if self.source == "seeded":
            return ""
        if self.source == "path":
            return f"weights-path-{digest(self.identity)[:12]}"
        # Often a repository is called as the file in it.
        names = (self.identity.get("repository", "").rpartition("/")[2], Path(self.identity.get("file", "")).stem)
        words = dict.fromkeys("-".join(re.findall("[a-z0-9_]+", name.lower())) for name in names)
        return "-".join(["weights", self.source, *filter(None, words)])

    def __str__(self) -> str:
        return " ".join([self.source, *filter(None, map(self.identity.get, ("repository", "file")))])


def choose(reference: Reference, option: str, cache: Cache) -> Weights:
    """Return the weights of one system for `--weights seeded|hub|PATH`."""
    if option == "seeded":
        return _seeded(reference, cache)
    if option == "hub":
        return _published(reference)
    path = Path(option)
    if not path.is_file():
        raise WeightsError(f"--weights {option}: no such file. Name a checkpoint, or say seeded or hub")
    return Weights("path", {"source": "path", "sha256": _sha256(path)}, lambda: path, path)


def _seeded(reference: Reference, cache: Cache) -> Weights:
    parts = {"seed": code(reference.seed), "packages": libraries(*reference.packages, "numpy")}
    key = digest(parts)

    def make(folder: Path) -> None:
        reference.seed(folder / _FILE)

    # The values depend on names and shapes alone, so library versions are no part of what the weights are.
    return Weights(
        "seeded",
        {"source": "seeded", "recipe": digest(parts["seed"])},
        lambda: cache.get("weights", key, make, parts) / _FILE,
    )


def fitted(system: System, weights: Weights) -> System:
    """Return the system under these weights, in the sizes of their checkpoint."""
    sized = system.sized(weights.checkpoint()) if system.sized and weights.source != "seeded" else system
    return replace(sized, reference=dressed(system.reference, weights))


def dressed(reference: Reference, weights: Weights) -> Reference:
    """Return the reference under these weights; published weights go with published voices."""
    if weights.source != "hub" or not reference.published:
        return reference
    files = {name: fetched(hub) for name, hub in reference.published.items()}
    return replace(reference, cases=tuple(reference.dress(case, files) for case in reference.cases))


def _published(reference: Reference) -> Weights:
    hub = reference.checkpoint
    names = {"repository": hub.repository, "file": hub.filename}
    identity = {"source": "hub", **names, "revision": hub.revision, "sha256": hub.sha256}
    return Weights("hub", identity, lambda: fetched(hub))


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
    actual = _sha256(path)
    if actual != hub.sha256:
        raise WeightsError(f"{path} has sha256 {actual}; {hub.filename} is pinned to {hub.sha256}. Delete the file")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
