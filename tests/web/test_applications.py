"""Other people's frameworks under this package's front end, with a client that is not ours."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import flask
import requests
from twisted.trial.unittest import SkipTest
from typing_extensions import override

from tests import effort
from tests.web.test_functional import FunctionalTests
from zkservice.web import Limits

MEBIBYTE = os.urandom(1 << 20)
#: Megabytes of an upload, and of a file that is downloaded whole.
UPLOAD, DOWNLOAD = effort(200, 20), effort(1024, 64)
#: Where the range begins.
START = DOWNLOAD << 19


class ApplicationTests(FunctionalTests):
    """A front end for an application of the subclass."""

    limits = Limits(drain_linger=0.1)

    @override
    def application(self) -> Callable[..., Iterable[bytes]]:
        validated: Any = validator(self.framework())
        checked: Callable[..., Iterable[bytes]] = validated
        return checked

    def framework(self) -> Any:
        """The framework's application."""
        raise SkipTest("only a base")

    def url(self, path: str) -> str:
        """Where a path is served."""
        return f"http://127.0.0.1:{self.port.getHost().port}{path}"


class FlaskTests(ApplicationTests):
    """Flask: uploads and downloads."""

    @override
    def framework(self) -> Any:
        app = flask.Flask("tests")
        self.file = Path(self.mktemp()).absolute()
        with self.file.open("wb") as file:
            file.truncate(DOWNLOAD << 20)
            file.seek(START)
            file.write(MEBIBYTE * 2)

        @app.post("/upload")
        def upload() -> dict[str, Any]:
            digest, size = hashlib.sha1(), 0
            while block := flask.request.stream.read(65536):
                digest.update(block)
                size += len(block)
            return {"size": size, "sha1": digest.hexdigest()}

        @app.post("/form")
        def form() -> dict[str, Any]:
            sent = flask.request.files["file"]
            return {"name": sent.filename, "size": len(sent.read()), **flask.request.form}

        @app.get("/download")
        def download() -> flask.Response:
            return flask.send_file(self.file, conditional=True)

        return app

    async def test_large_uploads_arrive(self) -> None:
        """Many megabytes come through, with a length and in chunks."""

        def blocks() -> Iterator[bytes]:
            for _ in range(UPLOAD):
                yield MEBIBYTE

        digest = hashlib.sha1()
        for block in blocks():
            digest.update(block)
        expected = {"size": UPLOAD << 20, "sha1": digest.hexdigest()}
        headers = {"Content-Type": "application/octet-stream"}
        for data in (blocks(), MEBIBYTE * UPLOAD):
            answer = await self.client(
                lambda data=data: requests.post(self.url("/upload"), data, headers=headers)
            )
            self.assertEqual(answer.json(), expected)

    async def test_a_form_with_a_file_is_read(self) -> None:
        """A form with a file is read."""
        answer = await self.client(
            lambda: requests.post(
                self.url("/form"), {"a": "é"}, files={"file": ("f.bin", MEBIBYTE)}
            )
        )
        self.assertEqual(answer.json(), {"name": "f.bin", "size": 1 << 20, "a": "é"})

    async def test_a_range_is_served(self) -> None:
        """A range of a large file is what is asked for."""
        headers = {"Range": f"bytes={START}-{START + len(MEBIBYTE) * 2 - 1}"}
        answer = await self.client(lambda: requests.get(self.url("/download"), headers=headers))
        self.assertEqual(answer.status_code, 206)
        self.assertTrue(answer.content == MEBIBYTE * 2)


class PlainFlaskTests(FlaskTests):
    """The same without a validator, so that files go by sendfile."""

    @override
    def application(self) -> Callable[..., Iterable[bytes]]:
        result: Callable[..., Iterable[bytes]] = self.framework()
        return result

    async def test_a_large_file_frees_its_worker_early(self) -> None:
        """A large file arrives, and its worker was free long before."""

        def download() -> int:
            with requests.get(self.url("/download"), stream=True) as answer:
                return sum(map(len, answer.iter_content(1 << 20)))

        self.assertEqual(await self.client(download), DOWNLOAD << 20)


class PyramidTests(ApplicationTests):
    """Pyramid."""

    @override
    def framework(self) -> Any:
        try:
            from pyramid.config import Configurator
            from pyramid.response import Response
        except ImportError:
            raise SkipTest("needs pyramid") from None

        def greet(request: Any) -> Any:
            return Response(f"hello {request.matchdict['name']}, {request.remote_addr}")

        with Configurator() as config:
            config.add_route("greet", "/greet/{name}")
            config.add_view(greet, route_name="greet")
            return config.make_wsgi_app()

    async def test_non_ascii_routes_are_found(self) -> None:
        """Routes with what is not ASCII lead where they should; others to 404."""
        answer = await self.client(lambda: requests.get(self.url("/greet/J%C3%BCrgen")))
        self.assertEqual(answer.text, "hello Jürgen, 127.0.0.1")
        answer = await self.client(lambda: requests.get(self.url("/nowhere")))
        self.assertEqual(answer.status_code, 404)


class DjangoTests(ApplicationTests):
    """Django, its admin, and its static files by WhiteNoise."""

    @override
    def framework(self) -> Any:
        try:
            import django
            import whitenoise  # noqa: F401
            from django.conf import settings
        except ImportError:
            raise SkipTest("needs django and whitenoise") from None
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        if not settings.configured:
            settings.configure(**_django_settings(folder))
            django.setup()
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.core.wsgi import get_wsgi_application

        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        User.objects.create_superuser("root", "root@example.org", "secret")
        return get_wsgi_application()

    async def test_admin_and_static_files(self) -> None:
        """One can log in to the admin, and its style sheet is served."""
        await self.client(self._visit)

    def _visit(self) -> None:
        with requests.Session() as session:
            page = session.get(self.url("/admin/login/"))
            form = {"username": "root", "password": "secret", "next": "/admin/"}
            form["csrfmiddlewaretoken"] = session.cookies["csrftoken"] or ""
            self.assertEqual(page.status_code, 200)
            answer = session.post(self.url("/admin/login/"), form)
            self.assertIn("Site administration", answer.text)
            style = session.get(self.url("/static/admin/css/base.css"))
            self.assertEqual(style.status_code, 200)
            self.assertIn("text/css", style.headers["Content-Type"])


def _django_settings(folder: Path) -> dict[str, Any]:
    return {
        "ALLOWED_HOSTS": ["127.0.0.1"],
        "DATABASES": {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "db.sqlite3"}
        },
        "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
        "INSTALLED_APPS": [
            *("django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"),
            *("django.contrib.sessions", "django.contrib.messages", "django.contrib.staticfiles"),
        ],
        "MIDDLEWARE": [
            "whitenoise.middleware.WhiteNoiseMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        "ROOT_URLCONF": "tests.web.django_urls",
        "SECRET_KEY": "for tests only",
        "STATIC_ROOT": folder / "static",
        "STATIC_URL": "/static/",
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
    }
