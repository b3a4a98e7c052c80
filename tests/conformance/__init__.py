"""Runs the test suites that coremltools carries against milrun, and keeps count of what really executed."""
