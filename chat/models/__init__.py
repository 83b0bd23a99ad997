"""What is stored. One noun a file; import them from here."""

from chat.models.event import RunEvent
from chat.models.message import Message
from chat.models.run import Run
from chat.models.session import ChatSession
from chat.models.token import ApiToken

__all__ = ["ApiToken", "ChatSession", "Message", "Run", "RunEvent"]
