# SPDX-License-Identifier: Apache-2.0
"""The command `axjax`: one file for each group of subcommands."""

from axjax._cli._main import main

__all__ = ["main"]
