"""Tests for `zkservice.service.application.load`."""

from __future__ import annotations

import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import ApplicationLoadError
from zkservice.service.application.load import absolute_spec, check_application, load_application


class LoadTests(SynchronousTestCase):
    """Finding the application, and saying why not."""

    def setUp(self) -> None:
        """Leave the import path and the modules as they were."""
        path, modules = list(sys.path), set(sys.modules)
        self.addCleanup(sys.path.__setitem__, slice(None), path)
        self.addCleanup(lambda: [sys.modules.pop(n) for n in set(sys.modules) - modules])
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def write(self, name: str, text: str) -> str:
        """Write a file in a folder of its own; return its absolute path."""
        path = os.path.abspath(os.path.join(self.folder, name))
        with open(path, "w") as file:
            file.write(text)
        return path

    def refused(self, spec: str) -> str:
        """The one line that says why an application is refused."""
        with self.assertRaises(ApplicationLoadError) as caught:
            load_application(spec)
        message = str(caught.exception)
        self.assertNotIn("\n", message)
        self.assertIn(spec, message)
        return message

    def test_a_file_may_import_from_its_directory(self) -> None:
        """The global `application` of a file, which may import what lies beside it."""
        self.write("beside_it.py", "answer = 42")
        path = self.write("app.wsgi", "import beside_it\ndef application(e, s): return 42\n")
        self.assertEqual(load_application(path)({}, None), 42)

    def test_a_paste_configuration_may_import_from_its_directory(self) -> None:
        """The application of a configuration, which may name what lies beside it."""
        self.write("pasted.py", "def make(world): return lambda environ, start: 42\n")
        path = self.write("deploy.ini", "[app:main]\npaste.app_factory = pasted:make\n")
        self.assertEqual(load_application(f"config:{path}#main")({}, None), 42)

    def test_an_attribute_of_a_module_is_loaded(self) -> None:
        """An attribute, dotted too, of a module."""
        self.assertIs(load_application("os:path.join"), os.path.join)

    def test_a_missing_file_is_named(self) -> None:
        """A file that is not there is named."""
        self.assertIn("does not exist", self.refused(os.path.abspath("missing.wsgi")))
        self.assertNotIn("module:", self.refused(os.path.abspath("missing.wsgi")))

    def test_a_module_alone_says_what_to_write(self) -> None:
        """A module without an attribute is refused; the error shows the correct form."""
        self.assertIn("is written module:callable", self.refused(os.path.abspath("mysite")))

    def test_a_folder_is_refused(self) -> None:
        """A directory is refused."""
        self.assertIn("is a folder", self.refused(os.path.abspath(self.folder)))

    def test_a_file_without_application_says_what_to_write(self) -> None:
        """For a file without `application`, the error says how to give another name."""
        self.assertIn("no global named 'application'", self.refused(self.write("a.wsgi", "x = 1")))
        message = self.refused(self.write("flasky.py", "def app(environ, start): pass"))
        self.assertIn("write module:name, here flasky:app", message)
        message = self.refused(self.write("made.py", "def create_app(): pass"))
        self.assertIn("here made:create_app()", message)

    def test_an_uncalled_factory_is_refused(self) -> None:
        """A factory is refused at the start; otherwise each request would fail."""
        path = self.write("a.wsgi", "def application():\n    return lambda environ, start: []\n")
        self.assertIn("does not take (environ, start_response)", self.refused(path))
        self.assertIn("write application = create_app()", self.refused(path))
        self.assertIn("if it makes the application, write 'os:getcwd()'", self.refused("os:getcwd"))

    def module(self, text: str) -> None:
        """Make a module ``made_up``."""
        self.write("made_up.py", text)
        sys.path.insert(0, self.folder)

    def test_a_factory_is_called_with_literals(self) -> None:
        """A factory is called with literals, as gunicorn has it; they may hold any character."""
        self.module(
            "def create(*args, **kw):\n return lambda environ, start: (args, kw)\n"
            "class inner:\n make = staticmethod(create)\n"
        )
        for spec, expected in (
            ("made_up:create()", ((), {})),
            ("made_up:inner.make()", ((), {})),
            ("made_up:create('/etc/a.ini', -1, on=True)", (("/etc/a.ini", -1), {"on": True})),
            ("made_up:create({'a:b': [None]})", (({"a:b": [None]},), {})),
        ):
            self.assertEqual(load_application(spec)({}, None), expected)
            self.assertEqual(absolute_spec(spec), spec)

    def test_factory_that_fails(self) -> None:
        """An error in a factory, or in its arguments, is reported in one line."""
        self.module(
            "def create(name):\n return {}[name]\ndef none():\n pass\ndef again():\n return none\n"
        )
        self.assertIn("made_up.py, line 2", self.refused("made_up:create('x')"))
        self.assertIn("missing 1 required positional", self.refused("made_up:create()"))
        self.assertIn("its type is NoneType", self.refused("made_up:none()"))
        self.assertIn("does not take (environ", self.refused("made_up:again()"))
        self.assertIn("has no 'nothing'", self.refused("made_up:nothing()"))

    def test_arguments_are_literals(self) -> None:
        """Only literals are evaluated, and an invalid call is refused before the import."""
        for arguments in ("os.environ", "print(1)", "*[1]", "x=y", "1 + 1"):
            with self.assertRaises(ApplicationLoadError) as caught:
                check_application(f"no_such:create({arguments})")
            self.assertIn("arguments of a factory are literals", str(caught.exception))
        for text in ("create(**{})", "create()()", "create().app", "a[0]", "create(", "a b", "1"):
            with self.assertRaises(ApplicationLoadError) as caught:
                check_application(f"no_such:{text}")
            self.assertIn("is invalid: an application is", str(caught.exception))

    def test_an_asgi_application_is_refused(self) -> None:
        """An ASGI application of any form is refused, and the error says what to do."""
        for text in (
            "async def application(scope, receive, send): pass",
            "def application(scope, receive, send): pass",
            "class App:\n async def __call__(self, s, r, d): pass\napplication = App()",
            "class application:\n def __init__(self, scope): pass",
            "async def app(first, s, r, d): pass\n"
            "import functools\napplication = functools.partial(app, 1)",
        ):
            message = self.refused(self.write("a.wsgi", text))
            self.assertIn("is an ASGI application, but zkserve serves WSGI", message)
            self.assertIn("a2wsgi.ASGIMiddleware(app)", message)
            self.assertNotIn("create_app", message)

    def test_a_coroutine_function_is_refused(self) -> None:
        """WSGI cannot await; such an application would fail at each request."""
        for text in (
            "async def application(environ, start_response): pass",
            "async def application(environ, start_response): yield b''",
        ):
            message = self.refused(self.write("a.wsgi", text))
            self.assertIn("is a coroutine function, which WSGI does not await", message)

    def test_all_kinds_of_callables_are_accepted(self) -> None:
        """Functions with defaults, objects, and callables whose signature is unknown."""
        for text in (
            "def application(environ, start, more=1): pass",
            "class App:\n def __call__(self, *both): pass\napplication = App()",
            "class application:\n def __init__(self, environ, start): pass",
            "application = dict.fromkeys",
            "import functools\napplication = functools.partial(lambda c, e, s: 1, 2)",
        ):
            load_application(self.write("a.wsgi", text))

    def test_an_application_must_be_callable(self) -> None:
        """An `application` that is not callable is refused."""
        message = self.refused(self.write("a.wsgi", "application = 1"))
        self.assertIn("is not callable, its type is int", message)

    def test_an_error_in_the_file_has_its_line(self) -> None:
        """An error in the file is reported with its type and its line."""
        path = self.write("a.wsgi", "\n\nnonsense()\n")
        message = self.refused(path)
        self.assertIn("NameError: name 'nonsense'", message)
        self.assertIn("line 3", message)

    def test_a_failed_import_is_named(self) -> None:
        """A module that the file imports and that is missing is named."""
        self.assertIn("no_such_module", self.refused(self.write("a.wsgi", "import no_such_module")))

    def test_a_syntax_error_has_its_place(self) -> None:
        """A syntax error is reported with its place."""
        self.assertIn("line 2", self.refused(self.write("a.wsgi", "x = 1\ny = = 2\n")))

    def test_a_file_that_exits_is_an_error(self) -> None:
        """A file that raises SystemExit does not end the service without a message."""
        self.assertIn("SystemExit", self.refused(self.write("a.wsgi", "raise SystemExit(3)")))

    def test_unknown_modules_and_attributes_are_named(self) -> None:
        """A missing module, a missing attribute, and an invalid name."""
        self.assertIn("No module named 'no_such'", self.refused("no_such:app"))
        self.assertIn("the module os has no 'nothing'", self.refused("os:nothing"))
        self.assertIn("is invalid: an application is", self.refused("os:"))
        self.assertIn("is invalid: an application is", self.refused("1+1:app"))

    def test_a_missing_module_says_where_to_start(self) -> None:
        """Unless it is another module that is missing, or a similar one is there."""
        self.module("import no_such_module")
        self.write("shop.py", "app = 1")
        self.write("empty.py", "")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        message = self.refused("warehouse.wsgi:app")
        self.assertIn(f"; it is neither in {os.getcwd()} nor installed: start twistd", message)
        self.assertTrue(self.refused("shopp:app").endswith("; did you mean 'shop'?"))
        self.assertTrue(self.refused("made_up:app").endswith("made_up.py, line 1)"))
        self.assertTrue(self.refused("made_up.wsgi:app").endswith("made_up.py, line 1)"))
        self.assertTrue(self.refused("empty.wsgi:app").endswith("'empty' is not a package"))

    def test_the_usual_names_are_suggested(self) -> None:
        """A module without the attribute shows what it calls its application."""
        for name, written in (("app", "app"), ("create_app", "create_app()")):
            self.write(f"with_{name}.py", f"def {name}(): pass")
            sys.path.insert(0, self.folder)
            message = self.refused(f"with_{name}:application")
            expected = f"has no 'application'; did you mean with_{name}:{written}?"
            self.assertIn(expected, message)

    def test_files_become_absolute_and_modules_stay(self) -> None:
        """A file is named absolutely before any change of directory; a module stays."""
        self.assertEqual(absolute_spec("a.wsgi"), os.path.abspath("a.wsgi"))
        self.assertEqual(
            absolute_spec("config:a.ini#main"), f"config:{os.path.abspath('a.ini')}#main"
        )
        self.assertEqual(absolute_spec("package.module:app"), "package.module:app")

    def test_check_loads_nothing(self) -> None:
        """Checking does not run the file."""
        check_application(self.write("a.wsgi", "raise SystemExit(3)"))
