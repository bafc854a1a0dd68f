"""Tests of ``zkservice.monitor.plugins``: commands as zc.monitor has them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import zope.component
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override
from zope.interface import Interface

from zkservice.monitor import IMonitorPlugin, MoreLines, utility_commands
from zkservice.monitor.plugins import MORE_MARKER, QUIT_MARKER


def hello(output: Any, name: str = "world") -> None:
    """Say hello."""
    output.write(f"Hi {name}\n")
    output.write(b"bytes\n")


def total(output: Any, *words: str) -> object:
    """Add."""
    if words == ("quit",):
        return QUIT_MARKER
    output.write(f"{sum(map(int, words))}.")
    return MORE_MARKER


class FakeComponent(ModuleType):
    """Stands in for zope.component, with plugins by their interfaces."""

    def __init__(self, plugins: dict[Any, dict[str, Any]]) -> None:
        super().__init__("zope.component")
        self._plugins = plugins

    def getUtilitiesFor(self, interface: Any) -> Any:  # noqa: N802 - zope.component's name
        """The plugins of an interface."""
        return self._plugins.get(interface, {}).items()


class UtilityTests(SynchronousTestCase):
    """Plugins of a registry."""

    @override
    def setUp(self) -> None:
        self.plugins: dict[str, Any] = {"hello": hello, "total": total, "two words": hello}
        component = FakeComponent({IMonitorPlugin: self.plugins})
        self.patch(sys, "modules", {**sys.modules, "zope.component": component})

    def test_output_and_words(self) -> None:
        """What a plugin writes is the reply."""
        commands = utility_commands()
        self.assertEqual(commands["hello"]([]), "Hi world\nbytes\n")
        self.assertEqual(commands["hello"](["Jim"]), "Hi Jim\nbytes\n")
        self.assertEqual(commands["hello"].__doc__, "Say hello.")
        self.assertEqual(set(commands), {"hello", "total"})

    def test_more(self) -> None:
        """A plugin that returns the marker receives the next line as words."""
        answer = utility_commands()["total"](["1", "2"])
        assert isinstance(answer, MoreLines)
        self.assertEqual(answer.text, "3.")
        again = answer.receive("4 5")
        assert isinstance(again, MoreLines)
        self.assertEqual(again.text, "9.")
        self.assertEqual(again.receive("quit"), "")

    def test_output_is_bounded(self) -> None:
        """A plugin that writes for ever does not fill the memory."""
        self.plugins["flood"] = lambda output: [output.write("x" * 100_000) for _ in range(50)][:0]
        reply = utility_commands()["flood"]([])
        assert isinstance(reply, str)
        self.assertEqual(len(reply), 1 << 20)

    def test_interface_of_zc_monitor(self) -> None:
        """Where a zc.monitor is loaded, its interface counts as well."""

        class Original(Interface):
            pass

        interfaces, package = ModuleType("zc.monitor.interfaces"), ModuleType("zc.monitor")
        marker = object()
        vars(interfaces)["IMonitorPlugin"], vars(package)["MORE_MARKER"] = Original, marker
        component = FakeComponent({Original: {"more": lambda output: marker}})
        new = {"zc.monitor": package, "zc.monitor.interfaces": interfaces}
        self.patch(sys, "modules", {**sys.modules, **new, "zope.component": component})
        self.assertIsInstance(utility_commands()["more"]([]), MoreLines)

    def test_the_real_zope_component(self) -> None:
        """A utility that an application registers, until it is gone."""
        self.patch(sys, "modules", {**sys.modules, "zope.component": zope.component})
        zope.component.provideUtility(hello, IMonitorPlugin, "real-hello")
        gone = zope.component.getGlobalSiteManager().unregisterUtility
        self.addCleanup(gone, hello, IMonitorPlugin, "real-hello")
        self.assertEqual(utility_commands()["real-hello"](["Jim"]), "Hi Jim\nbytes\n")
        gone(hello, IMonitorPlugin, "real-hello")
        self.assertEqual(utility_commands(), {})

    def test_without_zope_component(self) -> None:
        """Nothing is imported for it."""
        modules = {name: each for name, each in sys.modules.items() if name != "zope.component"}
        self.patch(sys, "modules", modules)
        self.assertEqual(utility_commands(), {})
