"""Error of a package that cannot be executed."""


class ModelError(Exception):
    """Malformed, unsupported or inconsistent package. The message names the file or the op, and the fault.

    Mistakes of a caller, such as a missing input or a wrong shape, raise a ValueError instead.
    """
