"""What worker processes gain, beside one process and beside gunicorn's and granian's workers.

    python -m benchmarks.processes [--rounds 5] [--seconds 3] [ROW ...]

The rows and the figures are those of ``benchmarks.http``; the servers are whole commands.  On two
cores ``wrk`` needs a share of its own: where the application computes it is below one percent, with
``hello`` it is a third of a core, so there the processor time of a request says more.
"""

from __future__ import annotations

import argparse

from benchmarks.http import Row, compare, report

SERVERS = ("zkserve-2", "zkserve-1", "gunicorn-2", "granian-2")

ROWS = {
    "compute": Row(
        "compute",
        2,
        connections=16,
        servers=SERVERS,
        claims={"zkserve-1": 1.9, "gunicorn-2": 1.0},
    ),
    "hello": Row("hello", 2, servers=SERVERS, claims={"zkserve-1": 1.6, "gunicorn-2": 1.0}),
    # The default is to be no slower than the front end alone.
    "default": Row("hello", 4, servers=("zkserve-1", "zkservice"), claims={"zkservice": 0.95}),
}


def main() -> None:
    """Run the rows that were asked for, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    for name in options.rows or ROWS:
        report(name, ROWS[name], compare(ROWS[name], options.rounds, options.seconds))


if __name__ == "__main__":
    main()
