# SPDX-License-Identifier: Apache-2.0
"""Runs a foreign program so that nothing it does outlives the call.

Compilers, circuits in C and synthesis tools get a process group of their own, limits on time,
memory and file size, and no terminal. Whatever happens, the whole group is killed at the end.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
from collections.abc import Sequence

_MEMORY_KIB = 4 << 20
_FILE_BLOCKS = 256 << 11  # blocks of 512 bytes: 256 MiB

# Limits are set by a shell and not between fork and exec, which is unsafe beside JAX's threads.
_WITH_LIMITS = f'ulimit -v {_MEMORY_KIB} -f {_FILE_BLOCKS} 2>/dev/null; exec "$@"'


class TimeLimitExceeded(Exception):
    """The program was killed, with all that it started."""


def run(command: Sequence[str], folder: pathlib.Path, seconds: float) -> tuple[int, str]:
    """Runs a command to its end, or for `seconds`.

    Args:
        command: program and arguments.
        folder: where it runs, and where its messages are kept while it does.
        seconds: time limit.
    Returns:
        Exit code, negative for a signal; and what it wrote to standard error, at most 64 KiB.
    Raises:
        TimeLimitExceeded: after `seconds`.
    """
    log = folder / "messages.log"
    with log.open("wb") as messages:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _WITH_LIMITS, "sh", *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeLimitExceeded from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    with log.open("rb") as messages:
        return code, messages.read(1 << 16).decode("utf-8", "replace")
