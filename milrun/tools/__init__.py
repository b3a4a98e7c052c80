"""Functions behind the verbs of the command line."""
