"""The one error the project raises for what its user can mend."""


class ParityError(Exception):
    """What a user can mend: one line that says where, what on each side, and what next."""
