"""The AI SDK's `useChat`, ai 2.2 to 7, at /api/chat (docs/protocol.md, "useChat")."""
