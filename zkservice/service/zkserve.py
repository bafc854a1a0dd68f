"""Assembles the service of ``twistd zkserve``."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.application.service import IService

from zkservice.errors import ApplicationLoadError, StartError
from zkservice.service.application.load import check_application, load_application
from zkservice.service.front.in_process import InProcessFront
from zkservice.service.front.interface import Front
from zkservice.service.front.multi_process import MultiProcessFront
from zkservice.service.lifecycle import ServeService
from zkservice.service.options.live_config import LiveConfig
from zkservice.service.options.serve_options import Options
from zkservice.service.options.worker_settings import settings_for
from zkservice.service.process.program import this_program
from zkservice.service.upgrading.successor import Successor

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Assemble the service; nothing is opened or loaded before it starts."""
    from twisted.internet import reactor  # noqa: TID251 - twistd has installed the one to use

    config = options.config
    live = LiveConfig(options.sources, options.given, config)
    try:
        check_application(config.application)
    except ApplicationLoadError as error:
        if options.inheritance is not None:
            options.inheritance.report_failure(str(error))
        raise StartError(f"zkserve: {error}") from None
    for warning in options.sources.warnings:
        ServeService.log.warn("{warning}", warning=warning)
    successor = None
    if options.inheritance is not None:
        successor = Successor(options.inheritance, reactor)
    service: IService = ServeService(
        config,
        reactor,
        partial(_front_for, live, reactor),
        live,
        this_program(options.parent),
        successor,
    )
    return service


def _front_for(live: LiveConfig, reactor: Any, service: ServeService) -> Front:
    config = live.config
    inherited = None if service.successor is None else service.successor.sockets
    if config.processes.supervised:
        return MultiProcessFront(
            config,
            reactor,
            lambda: settings_for(live.config.application, live.given),
            service.fail,
            inherited,
        )
    return InProcessFront(
        config, reactor, partial(load_application, config.application), service.end, inherited
    )
