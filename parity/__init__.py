"""A parity and regression harness for Core ML speech models."""
