"""`daphne config.asgi:application` or `uvicorn config.asgi:application`."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http = get_asgi_application()  # loads the apps, which all below imports

from chat.routing import websocket  # noqa: E402
from chat.transports.bodies import BodyLimit  # noqa: E402
from chat.transports.lifespan import Lifespan  # noqa: E402
from chat.web.health import Health  # noqa: E402

application = Lifespan(Health(BodyLimit(ProtocolTypeRouter({"http": http, "websocket": websocket}))))
