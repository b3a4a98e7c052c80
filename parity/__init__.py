"""The harness: what a system declares, how it is checked, and what is said of it."""

import logging
import os

# At its import coremltools complains of versions that it was not tested with and of what is missing off macOS, and
# converting it draws a bar for each pass. Both come before anything here is set up, so they are silenced first.
logging.getLogger("coremltools").setLevel(logging.ERROR)
os.environ.setdefault("TQDM_DISABLE", "1")
