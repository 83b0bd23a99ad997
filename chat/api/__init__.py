"""Floor 3: REST under /api/, described by OpenAPI at /api/docs. Streams are plain views in chat/transports."""
