"""All tables of planted bugs: each file `<system>_table.py` beside this one has `FAULTS`, and `SOUND` without a bug."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.faults.form import Fault

TABLES = [import_module(f"{__package__}.{path.stem}") for path in sorted(Path(__file__).parent.glob("*_table.py"))]
FAULTS: tuple[Fault, ...] = tuple(fault for table in TABLES for fault in table.FAULTS)
SOUND: tuple[Fault, ...] = tuple(fault for table in TABLES for fault in table.SOUND)
