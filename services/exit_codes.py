"""What a process says when it ends."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of every command."""

    OK = 0  # done, or stopped as asked
    CHECK_FAILED = 1  # a check found something, such as an audit that does not balance
    USAGE = 2  # the command line is wrong
    SETUP = 3  # a setting, a grant or a contract has to change
    UNREACHABLE = 4  # something outside did not answer; trying again may help
    BUG = 70  # an error that nobody expected; nothing was committed
    INTERRUPTED = 130  # ended from the keyboard
