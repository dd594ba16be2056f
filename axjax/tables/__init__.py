# SPDX-License-Identifier: Apache-2.0
"""Tables on disk and multipliers: the only code that knows file formats."""

from axjax.tables._library import available, imported, library_folder, manifest
from axjax.tables._load import load
from axjax.tables._readings import Reading, readings
from axjax.tables._save import save

__all__ = [
    "Reading",
    "available",
    "imported",
    "library_folder",
    "load",
    "manifest",
    "readings",
    "save",
]
