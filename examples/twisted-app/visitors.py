"""A web service that counts its visitors in ZooKeeper and registers its own address."""

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLongError
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from zkservice.client import ZooKeeperClient
from zkservice.errors import ZooKeeperError
from zkservice.recipes import Counter, Election
from zkservice.registry import register


class VisitorPage(Resource):
    """Counts each request, whichever process gets it."""

    _log = Logger()
    isLeaf = True  # noqa: N815

    def __init__(self, reactor, counter, is_leader):
        super().__init__()
        self._reactor, self._counter, self._is_leader = reactor, counter, is_leader

    def render_GET(self, request):  # noqa: N802 - Twisted's name
        counting = Deferred.fromCoroutine(self._count(request))
        counting.addErrback(lambda failure: self._log.failure("cannot count", failure))
        return NOT_DONE_YET

    async def _count(self, request):
        # The browser may leave while ZooKeeper is asked; then there is nobody to write to.
        gone = request.notifyFinish().addErrback(lambda _: True)
        try:
            number = await self._counter.add().addTimeout(5, self._reactor)
            text = f"visitor {number}, {'leader' if self._is_leader() else 'follower'}\n"
        except (ZooKeeperError, TookTooLongError) as error:
            request.setResponseCode(503)
            text = f"{error}\n"
        if not gone.called:
            request.write(text.encode())
            request.finish()


class VisitorService(Service):
    """Listens, registers, and is a candidate for the leadership, until it is stopped."""

    _log = Logger()

    def __init__(self, reactor, zookeeper, path="/svc/visitors", interface="127.0.0.1", port=0):
        self._reactor, self._path = reactor, path
        self._client = ZooKeeperClient(zookeeper, reactor=reactor)
        self._endpoint = TCP4ServerEndpoint(reactor, port, interface=interface)
        self._election = Election(self._client, f"{path}-leader")
        self._lease = self._port = self._registration = self._candidacy = None

    def startService(self):  # noqa: N802
        super().startService()
        Deferred.fromCoroutine(self._start()).addErrback(self._give_up)

    async def _start(self):
        # It connects in the background, for as long as that takes; calls wait for it.
        self._client.connect().addErrback(self._give_up)
        counter = Counter(self._client, f"{self._path}-count")
        page = VisitorPage(self._reactor, counter, self._is_leader)
        self._port = await self._endpoint.listen(Site(page))
        address = self._port.getHost()
        self._registration = register(
            self._client, self._path, f"{address.host}:{address.port}", clock=self._reactor
        )
        self._candidacy = Deferred.fromCoroutine(self._lead_again_and_again())
        await self._registration.when_registered()
        self._log.info("registered at {address}", address=self._registration.addresses[0])

    def _is_leader(self):
        # `certain` is False while the connection is broken: another process may lead by now.
        return self._lease is not None and self._lease.certain

    async def _lead_again_and_again(self):
        try:
            while True:
                self._lease = await self._election.lead()
                self._log.info("this process is the leader")
                self._log.info("no longer the leader: {why}", why=await self._lease.lost)
        except CancelledError:
            pass

    def _give_up(self, failure):
        if self.running:
            self._log.failure("cannot start", failure)
            self._reactor.stop()

    def stopService(self):  # noqa: N802
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self):
        if self._registration is not None:
            await self._registration.unregister()  # first: no client is to find a closed port
        if self._candidacy is not None:
            self._candidacy.cancel()
        if self._port is not None:
            await self._port.stopListening()
        await self._client.close()
