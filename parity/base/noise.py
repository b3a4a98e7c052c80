"""Noise of upstream packages: their warnings and log lines, which mean nothing to a user of the command line."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden() -> Iterator[None]:
    """Hide warnings of other packages, and log lines up to warnings, within the context. `python -W` shows them."""
    if sys.warnoptions:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"parity\.")
            yield
    finally:
        logging.disable(before)
