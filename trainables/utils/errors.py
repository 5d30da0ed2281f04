"""The errors a caller can act on: each message is one line that names the thing and the remedy."""


class UserError(Exception):
    """A mistake in what the user gave: a flag, a file, a class name. Exit status 2."""


class ConfigError(UserError):
    """One or more fields of a configuration are wrong.

    Attributes:
        problems: one line each, in the order of the fields.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        return type(self), (self.problems,)


class DataError(UserError):
    """A data set that is missing, empty, or holds what it must not."""


class CheckpointError(UserError):
    """A weights file that is missing, truncated, foreign or hostile."""


class NonFiniteError(Exception):
    """A loss, a gradient or a metric became NaN or infinite: this trial fails, others go on."""
