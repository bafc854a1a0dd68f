"""Draw the pictures of the manual: ``docs/pictures/NAME.svg`` from ``NAME.dot``, with Graphviz.

``python .ci/pictures.py`` draws; ``--check`` exits with 1 if a picture is not of its source.  The
check needs no Graphviz: a picture has its source's digest in its first line, because another
version of Graphviz would draw other numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"


def mark(source: Path) -> str:
    """The line that a picture begins with."""
    return f"<!-- {source.name} sha256 {hashlib.sha256(source.read_bytes()).hexdigest()} -->\n"


def draw(source: Path) -> str:
    """The picture of a source, without the XML declaration, as HTML can hold it."""
    drawn = subprocess.run(["dot", "-Tsvg", str(source)], check=True, capture_output=True)
    text = drawn.stdout.decode()
    return mark(source) + text[text.index("<svg") :]


def outdated(folder: Path = FOLDER) -> list[str]:
    """The names of the sources whose pictures are missing, or of another source."""
    return [
        source.name
        for source in sorted(folder.glob("*.dot"))
        if not (picture := source.with_suffix(".svg")).exists()
        or not picture.read_text().startswith(mark(source))
    ]


def main() -> None:
    """Draw, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--check", action="store_true", help="change nothing")
    if parser.parse_args().check:
        names = outdated()
        if names:
            sys.exit(f"python .ci/pictures.py has to be run: {', '.join(names)}")
        return
    for source in sorted(FOLDER.glob("*.dot")):
        source.with_suffix(".svg").write_text(draw(source))


if __name__ == "__main__":
    main()
