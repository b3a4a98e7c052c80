"""Speech metrics: the words that a recognizer hears, the likeness of two voices and of two recordings, and how natural
speech sounds. Recognizers and encoders are plug-ins. Each metric is held against its own floor: how far it moves
between two PyTorch renderings of the same passage."""
