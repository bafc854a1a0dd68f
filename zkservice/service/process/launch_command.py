"""Prepare a child process for a command, and replace it by the command (exec(3)).

``twistd zkregister`` starts this file by its path, with the parent's process id and the command as
arguments.  It makes the settings that only the process itself can make, then executes the command.
It imports nothing of zkservice, so that it takes milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

#: prctl(2): set the signal that this process gets when its parent ends.
PR_SET_PDEATHSIG = 1
#: Exit codes of shells for a command that cannot be executed, and for one that is not found.
NOT_EXECUTABLE, NOT_FOUND = 126, 127


def main(arguments: Sequence[str]) -> int:
    """Execute the command; return an exit code if that is impossible.

    Args:
        arguments: the process id of the parent, the command, and its arguments.
    """
    parent, *command = arguments
    # A group of its own: Ctrl-C in the terminal is for the parent, which deregisters first.
    os.setpgid(0, 0)
    end_with_parent(int(parent))
    # Python ignores these signals, and exec(3) would keep them ignored in the command.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"zkregister: {command[0]}: {error.strerror}\n")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def end_with_parent(parent: int) -> None:
    """Get SIGTERM when the parent ends, even by SIGKILL; only Linux can do that.

    Args:
        parent: the process id; if it is gone already, this process ends now.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
