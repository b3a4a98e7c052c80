"""The metrics, one per file. Importing this package registers every one of them."""

from __future__ import annotations

import importlib
import pkgutil

from parity.compare.metrics.registry import FAULTS, METRICS, Better, Fault, Metric, find, measure, metric

__all__ = ["FAULTS", "METRICS", "Better", "Fault", "Metric", "find", "measure", "metric"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
