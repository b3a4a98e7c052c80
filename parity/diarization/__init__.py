"""Who speaks when: turns, their files, and how far two accounts of the same recording differ."""
