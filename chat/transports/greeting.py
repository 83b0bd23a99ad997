from django.conf import settings

from chat.protocol.codec import FRAME_BYTES
from chat.protocol.frames import Hello, Limits, Model, User
from chat.runs.engine import Engine
from chat.transports.access import Visitor
from chat.transports.limits import WINDOW_BYTES

PROTOCOL = 1


async def hello(engine: Engine, visitor: Visitor) -> Hello:
    models = await engine.models()
    return Hello(
        protocol=PROTOCOL,
        user=User(visitor.name, visitor.guest),
        models=[
            Model(id=model.id, label=model.label, default=model is models[0], capabilities=list(model.capabilities))
            for model in models
        ],
        limits=Limits(
            frame_bytes=FRAME_BYTES,
            prompt_chars=settings.CHAT_PROMPT_CHARS,
            runs=settings.CHAT_RUNS_PER_USER,
            prompts_per_minute=settings.CHAT_PROMPTS_PER_MINUTE,
            operations_per_second=settings.CHAT_OPERATIONS_PER_SECOND,
            unacknowledged_bytes=WINDOW_BYTES,
        ),
        demo=bool(models) and "demo" in models[0].capabilities,
    )
