"""The revision that a change is compared with: which one it is, what changed since, and its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

# A hook that calls us has set these for its own repository, index and working tree.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
SECONDS = 600


class RevisionError(Exception):
    """Revision to compare with that cannot be found; the message names the mend."""


@dataclass(frozen=True)
class Revision:
    """`commit` is where the change left `name`: what was merged there since is not this change's doing."""

    name: str
    commit: str


def base(root: Path, name: str) -> Revision:
    """Return the revision that the working tree's change is based on."""
    if shutil.which("git") is None:
        raise RevisionError("git is not installed, so there is nothing to compare with: install it")
    lost = f"{root} is not in a git repository, so there is nothing to compare with: clone it with git"
    _git(root, "rev-parse", "--show-prefix", fault=lost)
    mend = f"name one that `git rev-parse {name}` knows, or fetch it: git fetch origin {name}"
    unknown = f"--base {name}: there is no such revision; {mend}"
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", fault=unknown)
    apart = f"--base {name}: it has no common history with HEAD here; in a shallow clone: git fetch --unshallow"
    return Revision(name, _git(root, "merge-base", commit, "HEAD", fault=apart))


def head(root: Path) -> str:
    return _git(root, "rev-parse", "HEAD")


def changed_files(root: Path, commit: str) -> list[str]:
    """Return the files below `root` that differ between a commit and the working tree, untracked ones included."""
    listed = _git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", commit)
    unknown = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return sorted({*listed.split("\0"), *unknown.split("\0")} - {""})


def kept(root: Path) -> set[str]:
    """Return the files below `root` that git has, or that `git add` would add."""
    return set(_git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"))


def files(root: Path, commit: str, under: str) -> list[str]:
    """Return the paths of a commit's files below a folder, or the path itself if it is a file."""
    listed = _git(root, "ls-tree", "-r", "-z", "--name-only", commit, "--", under)
    return [path for path in listed.split("\0") if path]


def text(root: Path, commit: str, path: str) -> str:
    """Return the content of a file of a commit."""
    found = _git(root, "show", f"{commit}:./{path}")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{commit[:12]}:{path} is not UTF-8 text: name a base where it is") from None
    return found


def export(root: Path, commit: str, folder: Path) -> None:
    """Write the files that a commit has below `root` into a folder."""
    _git(root, "archive", f"--output={folder / 'tree.tar'}", commit)
    with tarfile.open(folder / "tree.tar") as packed:
        packed.extractall(folder, filter="tar")


def _git(root: Path, *arguments: str, fault: str = "") -> str:
    """Return what git prints; raise a RevisionError where it fails, with `fault` before what git says."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    command = ["git", *arguments]
    try:
        found = subprocess.run(
            command,
            cwd=root,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # as Python reads names of files that are not UTF-8
            check=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = f"git {arguments[0]}: {error}"
        if isinstance(error, subprocess.CalledProcessError):
            said = error.stderr.strip()
        raise RevisionError(f"{fault} ({said})" if fault and said else fault or said) from error
    return found.stdout.strip("\n")
