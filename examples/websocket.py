"""Prints the answer to a prompt; after a lost connection it goes on where it was. See README.md beside this file."""

import json
import os
import sys
import time
import uuid

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

url = os.environ.get("TOKENWIRE", "http://127.0.0.1:8000").replace("http", "ws", 1) + "/ws/chat/"
headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
ask = {"type": "prompt.send", "id": str(uuid.uuid4()), "text": " ".join(sys.argv[1:]) or "Hello"}
while ask:
    try:
        with connect(url, additional_headers=headers, max_size=None) as socket:
            socket.send(json.dumps(ask))
            for frame in map(json.loads, socket):
                if frame["type"] == "run.accepted":
                    ask = {"type": "run.follow", "run": frame["run"], "after": 0}
                elif frame["type"] in ("run.completed", "run.stopped", "run.failed", "error"):
                    print(f"\n[{frame.get('code', frame['type'])}]")
                    ask = {}
                    break
                elif "seq" in frame and frame["run"] == ask.get("run"):
                    print(frame["text"] if frame["type"] == "text.delta" else "", end="", flush=True)
                    ask["after"] = frame["seq"]
    except (OSError, ConnectionClosed):
        time.sleep(1)
