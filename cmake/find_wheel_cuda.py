# SPDX-License-Identifier: Apache-2.0
"""Prints the root of a CUDA toolkit among the installed pip wheels; exit status 1 if none."""

import importlib.util
import pathlib
import sys


def main() -> int:
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    roots = [
        root
        for folder in folders or ()
        for root in pathlib.Path(folder).glob("cu[0-9]*")
        if (root / "bin" / "nvcc").is_file()
    ]
    if not roots:
        return 1
    print(max(roots, key=lambda root: int(root.name[2:])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
