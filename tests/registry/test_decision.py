"""Tests for `zkservice.registry.decision`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.registry.decision import ObservedNode, ReconcilePlan, decide

OURS, EARLIER, FOREIGN = 10, 9, 77


def judge(
    *owners: int | None, replace: bool = False, partly: bool = False, write: bool = False
) -> ReconcilePlan:
    """The plan for znodes /0, /1, ... with these owners, all at data version 5."""
    found = [ObservedNode(f"/{n}", owner, 5) for n, owner in enumerate(owners)]
    return decide(
        found, session=OURS, earlier={EARLIER}, replace=replace, partly=partly, write=write
    )


class DecisionTests(SynchronousTestCase):
    """The plan for znodes in different states."""

    def test_missing_is_created(self) -> None:
        """A missing znode is created."""
        self.assertEqual(judge(None), ReconcilePlan(create=("/0",)))

    def test_ours_is_kept(self) -> None:
        """A znode of this session is not changed."""
        self.assertEqual(judge(OURS), ReconcilePlan())

    def test_ours_with_old_data_is_written(self) -> None:
        """A change of properties is written in place."""
        self.assertEqual(
            judge(OURS, write=True), ReconcilePlan(write=(ObservedNode("/0", OURS, 5),))
        )

    def test_our_earlier_session_is_replaced(self) -> None:
        """A znode of an earlier session of this process is replaced at any time."""
        for replace in (True, False):
            self.assertEqual(
                judge(EARLIER, replace=replace).replace, (ObservedNode("/0", EARLIER, 5),)
            )

    def test_a_dead_process_is_replaced_by_a_new_one(self) -> None:
        """With ``replace``, a znode of any session is replaced."""
        self.assertEqual(judge(FOREIGN, replace=True).replace, (ObservedNode("/0", FOREIGN, 5),))

    def test_a_process_that_took_over_is_left_alone(self) -> None:
        """Without ``replace``, a znode of another process's session is a conflict."""
        self.assertEqual(judge(FOREIGN).conflict, ObservedNode("/0", FOREIGN, 5))

    def test_a_persistent_znode_is_never_deleted(self) -> None:
        """A persistent znode is left alone."""
        for replace in (True, False):
            self.assertEqual(judge(0, replace=replace).conflict, ObservedNode("/0", 0, 5))

    def test_what_is_free_of_conflict(self) -> None:
        """With ``partly``, a conflict about one address does not affect the others."""
        verdict = judge(FOREIGN, None, partly=True)
        self.assertEqual(
            verdict, ReconcilePlan(create=("/1",), conflict=ObservedNode("/0", FOREIGN, 5))
        )

    def test_several_are_changed_together(self) -> None:
        """Several znodes get different changes in one plan."""
        self.assertEqual(
            judge(None, OURS, EARLIER, write=True),
            ReconcilePlan(
                create=("/0",),
                replace=(ObservedNode("/2", EARLIER, 5),),
                write=(ObservedNode("/1", OURS, 5),),
            ),
        )

    @given(
        st.lists(st.sampled_from([None, OURS, EARLIER, FOREIGN, 0]), min_size=1),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )
    def test_nothing_changes_in_a_conflict(
        self, owners: list[int | None], replace: bool, partly: bool, write: bool
    ) -> None:
        """Without ``partly``, a conflict prevents all changes."""
        verdict = judge(*owners, replace=replace, partly=partly, write=write)
        changed = [*verdict.create, *(one.path for one in (*verdict.replace, *verdict.write))]
        if verdict.conflict is not None and not partly:
            self.assertEqual(changed, [])
        self.assertEqual(bool(changed), verdict.changes)
        self.assertEqual(len(changed), len(set(changed)))
        self.assertNotIn(0, [one.owner for one in verdict.replace])
