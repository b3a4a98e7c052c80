"""The harness: what a system declares, how it is checked, and what is said of it."""

import logging

# At its import coremltools complains of versions that it was not tested with and of what is missing off macOS.
logging.getLogger("coremltools").setLevel(logging.ERROR)
