"""Tests for `zkservice.service.registration.announcement`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.simulation.choices import Choices
from tests.simulation.hermetic import hermetic
from tests.simulation.world import World
from zkservice.registry import RegistrationState
from zkservice.service.commands.operated import NoFront
from zkservice.service.config import Config, ListenAddress, ZooKeeperTarget
from zkservice.service.ports.listeners import Listeners
from zkservice.service.ports.listening import LateBoundFactory
from zkservice.service.process.shutdown import Shutdown
from zkservice.service.registration.announcement import Announcer
from zkservice.wire.acl import READ_ACL_UNSAFE

PATH = "/svc"


class WithdrawTests(SynchronousTestCase):
    """The end of a registration, with a server but without any noise."""

    @override
    def setUp(self) -> None:
        self.world = World(Choices(1, ()))
        hermetically = hermetic(self.world.choices, self.world.kernel, self.world.logged)
        hermetically.__enter__()
        self.addCleanup(hermetically.__exit__, None, None, None)
        self.world.ensemble.start()
        self.machine = self.world.machine("service")
        config = Config(
            "app",
            PATH,
            ZooKeeperTarget(self.world.hosts),
            (ListenAddress.tcp(self.machine.address, 8080),),
            drain_wait=0.5,
        )
        listeners = Listeners(config, self.machine)
        listeners.open(LateBoundFactory())
        self.announcer = Announcer(config, listeners, self.machine, self.fail)
        self.announcer.start(dict, {}, NoFront())
        self.world.kernel.run(1)
        self.assertIs(self.announcer.registrar.registration.state, RegistrationState.REGISTERED)

    def withdraw(self, seconds: float) -> Any:
        """Deregister, and return the znode as it is after so many seconds."""
        shutdown = Shutdown(self.machine)
        shutdown.begin()
        withdrawing = Deferred.fromCoroutine(self.announcer.withdraw(shutdown))
        self.world.kernel.run(seconds)
        self.successResultOf(withdrawing)
        return self.world.node(f"{PATH}/{self.machine.address}:8080")

    def test_znode_is_deleted(self) -> None:
        """The session stays for a while; clients hear that the address is gone."""
        self.assertIsNone(self.withdraw(1.0))
        self.assertIsNotNone(self.announcer.registrar.client.client_id)

    def test_znode_that_may_not_be_deleted_goes_with_the_session(self) -> None:
        """A process must not close its ports while its address is registered."""
        admin = self.world.client("admin")
        self.world.kernel.run(1)
        admin.set_acl(PATH, READ_ACL_UNSAFE)
        self.world.kernel.run(1)
        self.assertIsNone(self.withdraw(4.0))
