"""Write docs/openapi.json from the control API's own routes and models.

python scripts/make_openapi.py            write it
python scripts/make_openapi.py --check    write nothing; exit 1 when the file is stale
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hestia import __version__
from hestia.api.application import openapi_document

TARGET = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


def render() -> str:
    """The document as it is stored."""
    return json.dumps(openapi_document(__version__), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check; the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    text = render()
    if not arguments:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} is stale; run: python scripts/make_openapi.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
