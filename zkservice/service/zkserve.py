"""What ``twistd zkserve`` is made of."""

from __future__ import annotations

from twisted.application.service import IService

from zkservice.errors import ApplicationLoadError, StartError
from zkservice.service.application import check_application
from zkservice.service.lifecycle import ServeService
from zkservice.service.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Assemble the service; nothing is opened or loaded before it starts."""
    from twisted.internet import reactor  # noqa: TID251 - twistd has installed the one to use

    config = options.config
    try:
        check_application(config.application)
    except ApplicationLoadError as error:
        raise StartError(f"zkserve: {error}") from None
    service: IService = ServeService(config, reactor)
    return service
