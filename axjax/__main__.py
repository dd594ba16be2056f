# SPDX-License-Identifier: Apache-2.0
"""`python -m axjax` is the command `axjax`."""

import sys

from axjax._cli import main

if __name__ == "__main__":
    sys.exit(main())
