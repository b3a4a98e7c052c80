"""Diarization: turns, their files, and the error rate between two accounts of a recording."""
