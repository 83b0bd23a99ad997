"""Token counts where no tokenizer is at hand: every model has its own, and none ships with the API."""

TURN_TOKENS = 4  # what chat templates put around each message


def estimate_tokens(text: str) -> int:
    """About 4 ASCII characters, or 1 to 2 of most other scripts, make a token; a third of the UTF-8 errs upwards.

    Rather too many than too few, since it decides what fits into the model's window.
    """
    return -(-len(text.encode()) // 3) if text else 0
