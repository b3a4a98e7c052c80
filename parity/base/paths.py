"""Where the project lies, and where the harness keeps what it makes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
STATE = ".parity"
ROOM = "golden"
GATES, BUDGETS = "gates.toml", "budgets.toml"
