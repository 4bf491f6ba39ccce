"""What goes wrong before a verdict: wrong usage, and targets nobody can call."""


class UsageError(ValueError):
    """The request cannot be carried out as it stands; the command line exits with 2."""


class NoAdapterError(LookupError):
    """It was not found out how to build or call the target; the command line exits with 3."""


class NoUnitError(ValueError):
    """A target that is told a width, not a ratio, would be asked for a width of nothing."""
