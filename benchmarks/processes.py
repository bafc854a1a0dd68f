"""What worker processes gain, beside one process and beside gunicorn's and granian's workers.

    python -m benchmarks.processes [--rounds 5] [--seconds 3] [ROW ...]

The rows and the figures are those of ``benchmarks.http``; the servers are whole commands.  On two
cores ``wrk`` needs a share of its own: where the application computes it is below one percent, with
``hello`` it is a third of a core, so there the processor time of a request says more.
"""

from __future__ import annotations

from benchmarks.http import Row, run_rows

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


if __name__ == "__main__":
    run_rows(__doc__, ROWS, 3)
