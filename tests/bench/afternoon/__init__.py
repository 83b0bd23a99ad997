"""What a competent Django developer has by the evening: Channels, daphne, the SDK; nothing stored, nothing resumed."""
