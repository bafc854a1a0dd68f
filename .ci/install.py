"""Install the package in a fresh environment and see that twistd knows its commands.

Usage: install.py FOLDER PYTHON PIP-ARGUMENT...

It is looked at from another folder than the checkout, or the checkout itself would be
what is found.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOOK = """
import importlib.metadata, pathlib, zkservice
assert (pathlib.Path(zkservice.__file__).parent / "py.typed").exists(), "py.typed is missing"
assert importlib.metadata.version("zkservice")
for script in importlib.metadata.distribution("zkservice").entry_points:
    script.load()
"""


def main(folder: Path, python: str, *arguments: str) -> None:
    """Make the environment, install, look."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    programs = folder / "bin"

    def run(name: str, *words: str) -> str:
        print("$", name, *words, flush=True)
        done = subprocess.run(
            [programs / name, *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    run("pip", "install", "--quiet", *arguments)
    known = [line.split()[0] for line in run("twistd", "--help").splitlines() if line.split()]
    for command in ("zkserve", "zkembedded", "zkregister", "zkfollow"):
        assert command in known, f"twistd does not list {command}"
        assert "--help" in run("twistd", command, "--help")
    run("python", "-c", LOOK)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
