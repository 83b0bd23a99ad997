from django.http import HttpRequest

from chat.transports.access import Visitor
from chat.transports.desk import Desk


class ApiRequest(HttpRequest):
    """What an operation is given: who asks, under the name that ninja gives it, and the process' engine and hub."""

    auth: Visitor
    desk: Desk
