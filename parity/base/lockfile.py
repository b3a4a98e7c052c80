"""requirements.lock: one version of everything. Some of its lines are an extra's, which only asking installs.

python -m parity.base.lockfile write            what is installed; the lines of an extra stay its own
python -m parity.base.lockfile install EXTRA    the lines of an extra, and nothing that they would bring with them
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from parity.base.files import write_atomically
from parity.base.paths import ROOT

LOCK = ROOT / "requirements.lock"
_LINE = re.compile(r'([A-Za-z0-9][\w.-]*)==([\w.!+-]+)(?:; extra == "([\w-]+)")?')


@dataclass(frozen=True)
class Pin:
    """A line. Plain pip passes over one that is an extra's."""

    name: str
    version: str
    extra: str = ""

    def __str__(self) -> str:
        marker = f'; extra == "{self.extra}"' if self.extra else ""
        return f"{self.name}=={self.version}{marker}"


def pins(path: Path = LOCK) -> dict[str, Pin]:
    """By their names as pip compares them."""
    return parse(path.read_text(encoding="utf-8")) if path.is_file() else {}


def parse(text: str) -> dict[str, Pin]:
    found: dict[str, Pin] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f'{line!r} is no pin: NAME==VERSION, and ; extra == "EXTRA" where it is an extra\'s')
        pin = Pin(match[1], match[2], match[3] or "")
        if found.setdefault(_plain(pin.name), pin) is not pin:
            raise ValueError(f"{pin.name} is pinned twice")
    return found


def of_an_extra(name: str) -> str | None:
    """The version that is pinned for an extra, which nobody has to have."""
    pin = pins(LOCK).get(_plain(name))
    return pin.version if pin and pin.extra else None


def absent(extra: str, packages: Iterable[str]) -> list[str]:
    """Of packages that come with an extra, those that this machine does not have; nothing where there is no extra."""
    return [name for name in packages if not installed(name)] if extra else []


def installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def merged(before: Iterable[Pin], now: Iterable[Pin]) -> str:
    """The lock of what is installed now."""
    extras = {_plain(pin.name): pin for pin in before if pin.extra}
    found = {_plain(pin.name): pin for pin in now}
    kept = {key: replace(pin, extra=extras[key].extra) if key in extras else pin for key, pin in found.items()}
    ordered = sorted({**extras, **kept}.values(), key=lambda pin: pin.name.lower())
    return "".join(f"{pin}\n" for pin in ordered)


def main(arguments: list[str] | None = None, path: Path = LOCK) -> int:
    parser = argparse.ArgumentParser(prog="python -m parity.base.lockfile", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("write", help="write down what is installed").set_defaults(extra="")
    verbs.add_parser("install", help="install an extra").add_argument("extra", metavar="EXTRA")
    options = parser.parse_args(arguments)
    known = pins(path)
    if not options.extra:
        write_atomically(path, merged(known.values(), _frozen().values()).encode())
        return 0
    wanted = [f"{pin.name}=={pin.version}" for pin in known.values() if pin.extra == options.extra]
    if not wanted:
        extras = sorted({pin.extra for pin in known.values()} - {""})
        parser.error(f"{path.name} has no extra {options.extra!r}; it has {', '.join(extras) or 'none'}")
    # Not what they ask for: that is another torch, and half of it nobody imports.
    return _pip("install", "--quiet", "--no-deps", *wanted).returncode


def _frozen() -> dict[str, Pin]:
    # A local label tells builds apart, not releases: the lock is for machines with and without CUDA.
    said = _pip("freeze", "--exclude-editable", stdout=subprocess.PIPE, check=True).stdout
    return parse(said.replace("+cpu\n", "\n"))


def _pip(*arguments: str, stdout: int | None = None, check: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pip", *arguments], stdout=stdout, check=check, text=True)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
