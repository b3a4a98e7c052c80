"""Speech metrics: the words that a recognizer hears, and the likeness of two voices. Both are plug-ins, and each is
held against its own floor: how far it moves between two PyTorch renderings of the same passage."""
