"""One seeded world: the whole of zkservice in one process, on one clock, under faults.

``python -m tests.simulation --help`` runs it.  To find the way:

================ =========================================================================
module           what it is
================ =========================================================================
``choices``      every decision of a run, each drawn from the seed and its own name
``kernel``       the one clock, and what is due
``network``      connections, and what can happen to them; names and addresses
``ports``        attempts to connect, and ports that accept
``machine``      processes, each with a reactor and a clock
``zookeeper``    the embedded server on a machine: its disk, its rare branches
``pool``         the application's threads, without threads
``hermetic``     the process's own clocks, random numbers and logs, taken over for a run
``world``        all of the above together, and what is noted: history, violations, states
``faults``       what can go wrong: one table
``workloads``    what is done: locks, queues, barriers, registers, trees, services, HTTP requests
``history``      what clients have seen, and the checks of it
``invariants``   what must hold: one table, one sentence each
``bounds``       the bounds of the manual, compared with all containers while a run lasts
``consistency``  whether the containers of a server agree
``states``       the rare states that a long run has to reach
``run``          one run from its start to its end
``shrink``       which decisions a failure needs
``plants``       bugs to plant, by which the simulation itself is tested
``campaign``     many runs: fresh seeds, figures
``seeds.txt``    seeds that have failed once, and why
================ =========================================================================
"""
