"""A real browser without a window: opens a page, and gives what became of it and what it said."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
    "--enable-logging=stderr",
    "--virtual-time-budget=8000",
)


@dataclass(frozen=True)
class Opened:
    """The page's elements after its scripts ran, and what it wrote to the console: errors and refusals."""

    dom: str
    console: list[str]


@dataclass(frozen=True)
class Browser:
    program: str
    profile: Path

    def open(self, page: Path) -> Opened:
        done = self._run("--dump-dom", page.as_uri())
        return Opened(done.stdout, re.findall(r":CONSOLE.*", done.stderr))

    def photograph(self, page: Path, width: int, height: int, to: Path) -> Path:
        self._run(f"--window-size={width},{height}", f"--screenshot={to}", page.as_uri())
        return to

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, *OPTIONS, f"--user-data-dir={self.profile}", *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=120, check=True)


def find(profile: Path) -> Browser:
    """The browser of this machine, or a skip that says so."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser on this machine (looked for {', '.join(NAMES)}): the page is not opened")
    return Browser(program, profile)
