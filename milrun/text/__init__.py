"""ML programs as text, as compiled models hold them in ``model.mil``: a reader and a writer."""
