"""Write the committed dashboards anew: ``python -m tracelab.platform.stack.render dashboards``."""

import sys
from pathlib import Path

from tracelab.platform.stack.dashboards import dashboards


def render(folder: Path) -> None:
    """Make a folder hold the dashboards and no other JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = dashboards()
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    render(Path(sys.argv[1] if len(sys.argv) > 1 else "dashboards"))
