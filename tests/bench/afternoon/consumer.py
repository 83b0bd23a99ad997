from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from openai import AsyncOpenAI

client = AsyncOpenAI()


class ChatConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        stream = await client.chat.completions.create(
            model="bench", messages=[{"role": "user", "content": content["text"]}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                await self.send_json({"type": "text.delta", "text": chunk.choices[0].delta.content})
        await self.send_json({"type": "run.completed"})
