"""A short run of three real servers under faults; `tests.functional.ensemble` has long ones."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.functional import ensemble
from zkservice.testing.apache import skip_without_apache


@skip_without_apache
class EnsembleCampaignTests(TestCase):
    """Members are killed, suspended, restarted and parted while clients work."""

    timeout = 300

    async def test_everything_holds_and_recovers(self) -> None:
        """Registers, locks, queues, registrations and views; each kind of call was made."""
        report = await ensemble.run(seed=2, seconds=20.0)
        found = report.violations
        if report.version < (3, 9):  # which lose acknowledged writes: see docs/reliability.rst
            found = [one for one in found if not one.startswith(ensemble.LOST_DATA)]
        self.assertEqual(found, [])
        for each in ("calls of registers", "locks: acquired", "queues: items done"):
            self.assertGreater(report.counts[each], 10, report)
