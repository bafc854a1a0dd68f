"""Tests of `zkservice.discovery.Resolver`, on a network without sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests import effort
from tests.client.base import ClientTestCase
from zkservice.client import ZooKeeperClient
from zkservice.discovery import LeastConnections, Provider, RandomChoice, Resolver, RoundRobin
from zkservice.errors import (
    ClientClosedError,
    InvalidPathError,
    LinkLoopError,
    NoAuthError,
    NoProviderError,
)
from zkservice.formats import FORMATS, Announcement
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE, Permission


class ResolverTestCase(ClientTestCase):
    """A service that one client registers and another one finds."""

    def setUp(self) -> None:
        """Two clients and an empty service."""
        super().setUp()
        self.admin = self.connected()
        self.finder = self.connected()
        self.result(self.admin.ensure_path("/svc"))

    def resolver(
        self, path: str = "/svc", client: ZooKeeperClient | None = None, **options: Any
    ) -> Resolver:
        """A resolver that is not started."""
        options.setdefault("strategy", RoundRobin(lambda: 0.0))
        made = Resolver(client or self.finder, path, reactor=self.network, **options)
        self.addCleanup(made.close)
        return made

    def started(self, path: str = "/svc", **options: Any) -> Resolver:
        """A resolver that knows what is registered."""
        return self.result(self.resolver(path, **options).start())

    def put(self, *names: str, data: bytes = b"", under: str = "/svc", **options: Any) -> None:
        """Register hosts."""
        for name in names:
            self.result(self.admin.create(f"{under}/{name}", data, **options))

    def drop(self, *names: str) -> None:
        """Deregister hosts."""
        for name in names:
            self.result(self.admin.delete(f"/svc/{name}"))

    def hosts(self, resolver: Resolver) -> str:
        """The hosts that a resolver offers."""
        return " ".join(sorted(one.host for one in resolver.providers))


class FollowingTests(ResolverTestCase):
    """Following registrations."""

    def test_providers_come_and_go(self) -> None:
        """Each change is seen, and `when_changed` fires with the new providers."""
        self.put("a:80", data=b'{"weight": 3, "zone": "x", "pid": 7}')
        resolver = self.started()
        found = Provider("a", 80, {"weight": 3, "zone": "x", "pid": 7}, 3.0, "x")
        self.assertEqual(resolver.providers, (found,))
        self.assertEqual(resolver.pick(), found)
        changed = resolver.when_changed()
        self.put("b:80")
        self.assertEqual([one.host for one in self.successResultOf(changed)], ["a", "b"])
        self.drop("a:80")
        self.assertEqual(self.hosts(resolver), "b")

    def test_changed_properties_are_seen(self) -> None:
        """A provider with changed data is a change."""
        self.put("a:80", data=b'{"weight": 1}')
        resolver = self.started()
        changed = resolver.when_changed()
        self.result(self.admin.set("/svc/a:80", b'{"weight": 5}'))
        self.assertEqual(self.successResultOf(changed)[0].weight, 5.0)

    def test_only_what_changed_is_read(self) -> None:
        """One more provider costs one list and one read; `pick` sends no request."""
        self.put(*(f"h{number}:80" for number in range(50)))
        resolver = self.started()
        before = self.finder.statistics().requests
        self.put("new:80")
        self.assertEqual(len(resolver.providers), 51)
        self.assertEqual(self.finder.statistics().requests - before, 2)
        self.drop("h7:80")
        self.result(self.admin.set("/svc/h8:80", b'{"weight": 2}'))
        self.assertLessEqual(self.finder.statistics().requests - before, 6)
        sent = self.finder.statistics().requests
        for _ in range(100):
            resolver.pick()
        self.network.settle()
        self.assertEqual(self.finder.statistics().requests, sent)

    def test_every_format_is_understood(self) -> None:
        """All formats are read together; ``formats`` restricts them."""
        for number, name in enumerate(FORMATS):
            one = Announcement("/svc", f"10.0.0.{number}:80", {}, 0)
            self.put(FORMATS[name].znode_name(one), data=FORMATS[name].data(one))
        self.assertEqual(len(self.started().providers), len(FORMATS))
        self.assertEqual(self.hosts(self.started(formats=["serverset"])), "10.0.0.1")

    def test_stopping_provider_is_not_offered(self) -> None:
        """A provider that announces its stop is left out, and does not count as lost."""
        member = FORMATS["serverset"]
        for number in range(4):
            one = Announcement("/svc", f"10.0.0.{number}:80", {}, 0)
            self.put(member.znode_name(one), data=member.data(one))
        resolver = self.started()
        for number in range(4):
            one = Announcement("/svc", f"10.0.0.{number}:80", {}, 0, available=False)
            self.result(self.admin.set(f"/svc/{member.znode_name(one)}", member.data(one)))
        self.assertEqual((resolver.providers, resolver.doubtful), ((), ()))
        with self.assertRaises(NoProviderError) as caught:
            resolver.pick()
        self.assertIn("none of the 4 registered here is available", str(caught.exception))

    def test_address_that_is_there_twice_is_one_provider(self) -> None:
        """An address in two formats is one provider."""
        one = Announcement("/svc", "10.0.0.1:80", {}, 0)
        self.put("10.0.0.1:80")
        self.put(FORMATS["serverset"].znode_name(one), data=FORMATS["serverset"].data(one))
        self.assertEqual(len(self.started().providers), 1)

    def test_children_that_are_no_providers(self) -> None:
        """Other children are ignored; if there are only such, the error names one."""
        self.put("leader", data=b"10.0.0.1")
        self.put("member_7", data=b'{"serviceEndpoint":{"host":"h","port":"x"}}')
        resolver = self.started()
        with self.assertRaises(NoProviderError) as caught:
            resolver.pick()
        self.assertIn("'leader': it is not a service instance", str(caught.exception))
        self.assertIn("1 more", str(caught.exception))
        self.put("a:80")
        self.assertEqual(resolver.pick().host, "a")

    def test_data_that_may_not_be_read(self) -> None:
        """If only names can be read, those that are addresses count."""
        self.put("a:80", data=b"{}", acl=[ACL(int(Permission.DELETE), ANYONE)])
        self.assertEqual(self.hosts(self.started()), "a")

    def test_path_that_does_not_exist_yet(self) -> None:
        """The resolver waits for it; until then there are no providers."""
        resolver = self.started("/later")
        with self.assertRaises(NoProviderError):
            resolver.pick()
        waiting = resolver.wait_for(2)
        self.result(self.admin.create("/later"))
        self.put("a:80", under="/later")
        self.assertNoResult(waiting)
        self.put("b:80", under="/later")
        self.assertEqual(len(self.successResultOf(waiting)), 2)
        self.assertEqual(len(self.successResultOf(resolver.wait_for(1))), 2)

    def test_links_are_followed_and_may_change(self) -> None:
        """Changing a link switches to another service."""
        self.put("a:80")
        self.result(self.admin.create("/green"))
        self.put("b:80", under="/green")
        self.result(self.admin.create("/live", b'{"web ->": "/svc"}'))
        resolver = self.started("/live/web")
        self.assertEqual(self.hosts(resolver), "a")
        self.result(self.admin.set("/live", b'{"web ->": "/green"}'))
        self.assertEqual(self.hosts(resolver), "b")

    def test_links_in_a_circle(self) -> None:
        """A loop of links has no providers, and the error says why, until it is corrected."""
        self.put("a:80")
        self.result(self.admin.create("/round", b'{"web ->": "/round/web/on"}'))
        resolver = self.started("/round/web")
        for _ in range(2):
            with self.assertRaises(LinkLoopError):
                resolver.pick()
        self.result(self.admin.set("/round", b'{"web ->": "/svc"}'))
        self.assertEqual(resolver.pick().host, "a")

    def test_path_that_may_not_be_read(self) -> None:
        """Starting fails without permission; the resolver retries."""
        self.put("a:80")
        self.result(self.admin.set_acl("/svc", [ACL(int(Permission.ADMIN), ANYONE)]))
        resolver = self.resolver()
        self.failure(resolver.start(), NoAuthError)
        self.result(self.admin.set_acl("/svc", OPEN_ACL_UNSAFE))
        self.network.advance(2)
        self.assertEqual(self.hosts(resolver), "a")

    def test_arguments_are_checked(self) -> None:
        """A bad path and an unknown format are refused at once."""
        with self.assertRaises(InvalidPathError):
            self.resolver("svc")
        with self.assertRaises(ValueError) as caught:
            self.resolver(formats=["finagle"])
        self.assertIn("serverset", str(caught.exception))

    def test_closing_leaves_nothing_behind(self) -> None:
        """Closing leaves no watch and no timer, and fails waiters."""
        self.put("a:80")
        resolver = self.started()
        self.assertEqual(self.finder.statistics().watches, 2)
        waiting = resolver.when_changed(), resolver.wait_for(5)
        resolver.close()
        for one in waiting:
            self.failure(one, ClientClosedError)
        self.network.settle()
        self.assertEqual(self.finder.statistics().watches, 0)
        self.successResultOf(resolver.close())

    def test_start_is_repeatable(self) -> None:
        """Starting again fires, and follows the path only once."""
        self.put("a:80")
        resolver = self.resolver()
        first, second = resolver.start(), resolver.start()
        self.assertIs(self.result(first), resolver)
        self.assertIs(self.result(second), resolver)
        self.assertIs(self.successResultOf(resolver.start()), resolver)
        self.assertEqual(self.finder.statistics().watches, 2)

    def test_client_that_is_closed(self) -> None:
        """A client on which `connect` was not called is an error."""
        self.failure(self.resolver(client=self.client()).start(), ClientClosedError)


class AwayTests(ResolverTestCase):
    """ZooKeeper is unreachable, or has lost its data."""

    def away(self) -> None:
        """Stop the server."""
        self.network.listening.clear()
        for cable in self.network.cables:
            cable.cut()
        self.network.advance(1)

    def back(self) -> None:
        """Start the server again."""
        self.network.listen("10.0.0.1", 2181, self.server.factory)
        self.network.advance(40)

    def test_keeps_what_it_knew(self) -> None:
        """Providers are kept without ZooKeeper, also after the session has expired."""
        self.put("a:80", "b:80")
        resolver = self.started()
        changed = resolver.when_changed()
        self.away()
        self.network.advance(effort(600, 60))
        self.assertEqual(self.hosts(resolver), "a b")
        self.assertEqual([resolver.pick().host for _ in range(4)], ["a", "b", "a", "b"])
        self.assertNoResult(changed)
        self.back()
        self.put("c:80")
        self.assertEqual(self.hosts(resolver), "a b c")

    def test_change_during_the_absence_is_seen_afterwards(self) -> None:
        """Changes are read after a reconnect."""
        self.put("a:80", "b:80")
        resolver = self.started()
        self.cable.cut()
        self.drop("a:80")
        self.put("c:80")
        self.network.advance(40)
        self.assertEqual(self.hosts(resolver), "b c")

    def test_remember_false_offers_only_what_is_known_now(self) -> None:
        """Without a connection there are no providers; afterwards all of them again."""
        self.put("a:80")
        resolver = self.started(remember=False)
        self.away()
        self.assertEqual(resolver.providers, ())
        self.back()
        self.assertEqual(self.hosts(resolver), "a")

    def test_start_waits_for_a_connection(self) -> None:
        """The providers are kept, however long there is no connection."""
        self.put("a:80")
        self.away()
        resolver = self.resolver()
        started = resolver.start()
        self.network.advance(100)
        self.assertNoResult(started)
        with self.assertRaises(NoProviderError) as caught:
            resolver.pick()
        self.assertIn("ZooKeeper has not replied yet", str(caught.exception))
        self.back()
        self.successResultOf(started)
        self.assertEqual(self.hosts(resolver), "a")

    def test_providers_lost_with_their_ensemble_are_kept_a_minute(self) -> None:
        """If all providers vanish, they are kept as doubtful for a minute, then dropped."""
        self.put("a:80", "b:80", "c:80", "d:80")
        resolver = self.started()
        changed = resolver.when_changed()
        with capturedLogs() as events:
            self.drop("a:80", "b:80", "c:80", "d:80")
        self.assertEqual(len(self.successResultOf(changed)), 3)  # one alone is believed
        self.assertEqual(self.hosts(resolver), "a b c d")
        self.assertEqual({one.host for one in resolver.doubtful}, set("abcd"))
        self.assertEqual([event["lost"] for event in events if "lost" in event], [3])
        changed = resolver.when_changed()
        self.network.advance(61)
        self.assertEqual(self.successResultOf(changed), ())
        self.assertEqual((resolver.providers, resolver.doubtful), ((), ()))

    def test_a_deleted_service_is_a_loss_like_any_other(self) -> None:
        """The deletion of the path counts as a loss of all providers."""
        self.put("a:80", "b:80", "c:80")
        resolver = self.started()
        self.drop("a:80", "b:80", "c:80")
        self.result(self.admin.delete("/svc"))
        self.assertEqual(self.hosts(resolver), "a b c")
        self.network.advance(61)
        self.assertEqual(resolver.providers, ())

    def test_guard_can_be_switched_off(self) -> None:
        """With ``mass_loss=None``, lost providers are never kept."""
        self.put("a:80", "b:80", "c:80")
        resolver = self.started(mass_loss=None)
        self.drop("a:80", "b:80", "c:80")
        self.assertEqual(resolver.providers, ())


class RememberedTests(AwayTests):
    """Programs that start without ZooKeeper."""

    def setUp(self) -> None:
        """A file that does not exist yet."""
        super().setUp()
        self.file = Path(self.mktemp())

    def remembering(self, *hosts: str) -> None:
        """A file that an earlier program has written."""
        self.put(*hosts)
        resolver = self.started(remember=self.file)
        self.network.advance(2)
        resolver.close()

    def test_start_without_zookeeper(self) -> None:
        """The file's providers are offered as doubtful until ZooKeeper replies."""
        self.remembering("a:80", "b:80")
        self.away()
        resolver = self.resolver(remember=self.file)
        self.successResultOf(resolver.start())
        self.assertEqual(self.hosts(resolver), "a b")
        self.assertEqual(resolver.doubtful, resolver.providers)
        self.assertEqual(resolver.pick().host, "a")
        self.back()
        self.assertEqual(resolver.doubtful, ())

    def test_answer_replaces_the_file(self) -> None:
        """ZooKeeper's providers replace those of the file."""
        self.remembering("a:80", "b:80", "c:80")
        self.drop("a:80", "b:80", "c:80")
        self.put("new:80")
        resolver = self.started(remember=self.file)
        self.network.advance(2)
        self.assertEqual(self.hosts(resolver), "new")
        content = json.loads(self.file.read_text())
        self.assertEqual([one["host"] for one in content["providers"]], ["new"])

    def test_ensemble_that_was_wiped_before_the_start(self) -> None:
        """If ZooKeeper has no providers, those of the file are kept as doubtful."""
        self.remembering("a:80", "b:80", "c:80")
        self.drop("a:80", "b:80", "c:80")
        resolver = self.started(remember=self.file)
        self.network.advance(2)
        self.assertEqual(self.hosts(resolver), "a b c")
        self.assertEqual(len(resolver.doubtful), 3)
        self.assertEqual(len(json.loads(self.file.read_text())["providers"]), 3)
        self.network.advance(60)
        self.assertEqual(resolver.providers, ())

    def test_broken_file_is_no_obstacle(self) -> None:
        """A file that cannot be written is a warning."""
        self.file.write_bytes(b"{")
        self.put("a:80")
        with capturedLogs() as events:
            resolver = self.started(remember=self.file)
        self.assertEqual(self.hosts(resolver), "a")
        self.assertEqual([e["what"] for e in events if "what" in e], ["cannot be used"])


class UseTests(ResolverTestCase):
    """Choosing providers, and reporting the outcome."""

    def test_tried_ones_are_not_chosen(self) -> None:
        """After all providers have been tried, no other one is returned."""
        self.put("a:80", "b:80")
        resolver = self.started()
        self.assertEqual(resolver.pick(["a:80"]).host, "b")
        with self.assertRaises(NoProviderError) as caught:
            resolver.pick(["a:80", "b:80"])
        self.assertIn("all providers were tried", str(caught.exception))

    def test_failing_provider_is_ejected(self) -> None:
        """After two failures a provider is not used for five seconds."""
        self.put("a:80", "b:80")
        resolver = self.started()
        for _ in range(2):
            resolver.use(["b:80"]).failed()
        self.assertEqual([one.host for one in resolver.ejected], ["a"])
        self.assertEqual({resolver.pick().host for _ in range(5)}, {"b"})
        self.network.advance(5)
        self.assertEqual(resolver.ejected, ())
        self.assertEqual({resolver.pick().host for _ in range(5)}, {"a", "b"})

    def test_ejected_one_of_a_crowd_is_not_chosen(self) -> None:
        """A provider that was ejected just now is not chosen from outdated candidates."""
        self.put(*(f"h{number}:80" for number in range(120)))
        resolver = self.resolver(strategy=RoundRobin(lambda: 0.0))
        started = resolver.start()
        self.network.advance(1)
        self.successResultOf(started)
        self.assertEqual(resolver.pick(), resolver.providers[0])
        second = resolver.providers[1]
        others = [one.address for one in resolver.providers if one is not second]
        for _ in range(2):
            resolver.use(others, strategy=RandomChoice()).failed()
        self.assertEqual(resolver.pick(), resolver.providers[2])

    def test_next_one_is_found_among_all(self) -> None:
        """A second attempt gives the strategy the same tuple of candidates."""
        self.put("a:80", "b:80", "c:80")
        seen: list[int] = []

        class Spy(RoundRobin):
            """Records the candidates."""

            def choose(self, candidates: Any) -> Any:
                seen.append(len(candidates))
                return super().choose(candidates)

        resolver = self.started(strategy=Spy(lambda: 0.0))
        self.assertEqual(resolver.pick(["a:80"]).host, "b")
        self.assertEqual(resolver.pick(["a:80", "c:80"]).host, "b")
        self.assertEqual(set(seen), {3})

    def test_uses_in_progress_count(self) -> None:
        """Least-connections counts the uses of this resolver."""
        self.put("a:80", "b:80")
        resolver = self.started(strategy=LeastConnections(lambda: 0.0))
        uses = [resolver.use() for _ in range(4)]
        self.assertEqual([use.provider.host for use in uses], ["a", "b", "a", "b"])
        uses[1].ended()
        uses[3].ended()
        self.assertEqual(resolver.use().provider.host, "b")
        other = resolver.pick(strategy=RoundRobin(lambda: 0.0))
        self.assertEqual(other.host, "a")

    def test_waiting_can_be_cancelled(self) -> None:
        """A cancelled waiter does not affect the others."""
        resolver = self.started()
        waiting: Deferred[Any] = resolver.wait_for(1)
        other = resolver.wait_for(1)
        waiting.addErrback(lambda _: None).cancel()
        self.put("a:80")
        self.assertEqual(len(self.successResultOf(other)), 1)


class StoppingTests(ResolverTestCase):
    """Providers that stop, and paths that lead nowhere, for views that show them."""

    def test_stopping_providers_are_reported(self) -> None:
        """`when_changed` fires when a provider stops, and when it is gone."""
        format_, one = FORMATS["serverset"], Announcement("/svc", "10.0.0.1:80", {}, 0)
        name = format_.znode_name(one)
        self.put(name, data=format_.data(one))
        resolver = self.started()
        stopping = format_.data(Announcement("/svc", "10.0.0.1:80", {}, 0, available=False))
        self.result(self.admin.set(f"/svc/{name}", stopping))
        self.assertEqual([each.address for each in resolver.stopping], ["10.0.0.1:80"])
        changed = resolver.when_changed()
        self.drop(name)
        self.assertEqual((self.successResultOf(changed), resolver.stopping), ((), ()))

    def test_missing_path_is_an_error(self) -> None:
        """An empty service has no error; a missing one has."""
        resolver = self.resolver("/svc/none")
        self.assertIsNone(resolver.error)
        changed = resolver.when_changed()
        self.result(resolver.start())
        self.assertEqual(self.successResultOf(changed), ())
        self.assertIn("/svc/none", str(resolver.error))
        changed = resolver.when_changed()
        self.result(self.admin.create("/svc/none"))
        self.assertEqual((self.successResultOf(changed), resolver.error), ((), None))
