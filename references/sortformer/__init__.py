"""Sortformer, the streaming diarizer: NeMo's model in a small size, and everything that trains it and measures it.

No published weights are needed: `python -m references.sortformer.train` makes a checkpoint out of meetings that
espeak-ng's voices hold, and `python -m references.sortformer.evaluate` says how well it tells them apart.
"""
