"""Core ML packages of declared stages: traced, converted, compressed, joined and cached."""

import logging
import os

# coremltools warns of untested versions and of parts missing off macOS while it is imported, and draws a progress bar
# for each of its passes. Both settings have to be made before its import.
logging.getLogger("coremltools").setLevel(logging.ERROR)
os.environ.setdefault("TQDM_DISABLE", "1")
