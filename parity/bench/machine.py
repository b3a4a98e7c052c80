"""This machine, since times of another one are not a baseline."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from parity.base.fingerprint import digest
from parity.run import Runtime

Machine = Mapping[str, str | int]
THREADS = 1
"""Of torch, for milrun and eager alike: one is the least noisy on machines that are shared. XNNPACK takes all."""


def this(runtime: Runtime, compute_units: str | None = None) -> Machine:
    """Return what must be equal for times to be compared. Versions are not part of it, so that their effect shows."""
    return {
        "system": platform.system(),
        "model": model(),
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "threads": (os.cpu_count() or THREADS) if runtime.name == "executorch" else THREADS,
        "runtime": runtime.name,
        "numerics": runtime.numerics,
        "compute_units": compute_units or "declared",
    }


def label(machine: Machine) -> str:
    """Return the machine in a few words."""
    name = machine["model"] or machine["processor"]
    return f"{name}, {machine['cores']} cores, {machine['runtime']} {machine['numerics']}, threads {machine['threads']}"


def slug(machine: Machine) -> str:
    """Return a file name for measurements on it."""
    return f"{machine['system']}-{machine['runtime']}-{digest(dict(machine))[:8]}".lower()


def model() -> str:
    """Return the maker's identifier, such as Mac16,10; empty if there is none."""
    return _sysctl("hw.model") if platform.system() == "Darwin" else ""


def processor() -> str:
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
