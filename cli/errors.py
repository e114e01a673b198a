"""How a command ends when it does not do what was asked: one line that says what, where, and what to do about it.

Exit codes: 0 done · 1 it failed · 2 wrong usage or input · 3 the platform is not running or not reachable
4 the key does not permit it · 5 no such thing (or not yours) · 6 a build ended otherwise than well
"""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_DENIED = 4
EXIT_NOT_FOUND = 5
EXIT_BUILD = 6
# Begins the one line on stderr.
ERROR_PREFIX = "recall: "


class CliError(Exception):
    """`message` says what is wrong, `field` the input at fault, `remedy` what to do; `reason` is stable.

    `appendix` may have several lines: the end of a log, or each fault of a spec. `summary` stands in the one line for
    a message whose every part is in the appendix.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        field: str = "",
        reason: str = "",
        appendix: str = "",
        summary: str = "",
        exit_code: int = EXIT_FAILED,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.field = field
        self.reason = reason
        self.appendix = appendix
        self.summary = summary
        self.exit_code = exit_code

    def line(self) -> str:
        """What and what to do, in one line."""
        if self.summary:
            return self.summary
        field = f"{self.field}:" if self.field and self.field not in self.message else ""
        message = self.message if not self.remedy or self.message[-1:] in ".!?:" else f"{self.message}."
        return " ".join(" ".join((field, message, self.remedy)).split())
