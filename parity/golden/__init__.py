"""The recorded truth: what the unpatched upstream model computed for each case at every stage boundary."""
