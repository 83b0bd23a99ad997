GUEST_CHARS = 8


def shown(requester: str) -> str:
    """`guest:<id>` shortened: the whole id is what the guest's access hangs on."""
    kind, _, id_ = requester.partition(":")
    return f"{kind}:{id_[:GUEST_CHARS]}…" if kind == "guest" and len(id_) > GUEST_CHARS else requester
