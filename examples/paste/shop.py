from pyramid.config import Configurator
from pyramid.response import Response


def index(request):
    return Response(request.registry.settings["greeting"] + "\n")


def main(global_config, **settings):
    """Make the application: what ``paste.app_factory`` names."""
    config = Configurator(settings=settings)
    config.add_route("index", "/")
    config.add_view(index, route_name="index")
    return config.make_wsgi_app()
