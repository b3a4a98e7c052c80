"""What can be wrong with a package."""


class ModelError(Exception):
    """A package that is malformed, unsupported or inconsistent; the message names the file or the op, and the fault.

    Faults of the caller (a missing input, a wrong shape) are ``ValueError``s instead.
    """
