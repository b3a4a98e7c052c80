"""Files of trained weights that pinned packages carry; proven by their hash before anything reads them."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parity.speech.sound import SpeechError

MEND = "make extra-ears"


@dataclass(frozen=True)
class Wheel:
    """One release of a package, with the files of it that are read and the sha256 of each."""

    package: str
    version: str
    files: Mapping[str, str]

    @property
    def installed(self) -> bool:
        try:
            importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    def paths(self) -> list[Path]:
        """Return the files in the order of their declaration, each with the promised content."""
        if not self.installed:
            raise SpeechError(f"{self.package} {self.version} is not installed. Run {MEND}")
        root = importlib.metadata.distribution(self.package)
        return [self._proven(Path(str(root.locate_file(name))), promised) for name, promised in self.files.items()]

    def _proven(self, path: Path, promised: str) -> Path:
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if found != promised:
            raise SpeechError(
                f"{path} of {self.package} is not that of {self.version}: sha256 {found}, where {promised} is pinned. "
                f"Run {MEND}"
            )
        return path
