"""Compile the zygote's modules from the far end of its list, on the other core, the first time ever.

Without byte code the zygote's imports are most of a cold boot, and compile one module after the other.
A helper that imports the same list backwards meets it in the middle; each finds what the other wrote.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

_TELLS = "fastapi"  # a large package that no command imports: its byte code is there once a zygote has run


def is_missing() -> bool:
    """Claim that there is no byte code yet, and that it would be kept."""
    if sys.dont_write_bytecode:
        return False
    spec = importlib.util.find_spec(_TELLS)
    if spec is None or spec.origin is None:
        return False
    cached = Path(importlib.util.cache_from_source(spec.origin))
    folder = cached.parent
    while not folder.exists():
        folder = folder.parent
    return not cached.exists() and os.access(folder, os.W_OK)


def main() -> None:
    """Import the modules named on the command line, last first; the zygote reports those that cannot be."""
    for name in reversed(sys.argv[1:]):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001, S112 -- the zygote meets the same error, and logs it
            continue
    os._exit(0)


if __name__ == "__main__":
    main()
