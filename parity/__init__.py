"""A parity and regression harness for Core ML speech models."""

import os

# Torch reads it at its first large tensor. In pages of 4 kB, the tensors of a vocoder's largest sizes took twice the
# time: the kernel has to clear each page.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
