"""The metrics, a file for each subject. Importing this package registers them all."""

# The order is that of evidence and of proposed gates.
from parity.compare.metrics import values, audio, speakers  # isort: skip  # noqa: F401
from parity.compare.metrics.registry import FAULTS, METRICS, Better, Fault, Metric, find, metric, of_kind

__all__ = ["FAULTS", "METRICS", "Better", "Fault", "Metric", "find", "metric", "of_kind"]
