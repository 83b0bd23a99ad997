from channels.routing import URLRouter
from django.urls import path, re_path

from chat.transports.websocket import ChatConsumer, NoRoute

websocket = URLRouter(
    [
        path("ws/chat/", ChatConsumer.as_asgi()),
        re_path(r"", NoRoute.as_asgi()),
    ]
)
