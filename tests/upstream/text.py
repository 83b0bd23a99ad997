"""The text that the test upstream answers with: a pure function of seed and position.

Any client in any process can therefore verify every byte that it was shown. The vocabulary is chosen to break naive
readers: code points of 1 to 4 bytes, clusters that fall apart over two chunks, line separators that only some splitters
honour, and words that look like the SSE framing around them.

No piece ends with a hex digit, so that a stamp (16 hex digits before a piece) is found again in text that was merged.
"""

import re
import zlib
from collections.abc import Iterator

Seed = int | str

_WORDS: tuple[str, ...] = tuple(
    re.findall(
        r"\S+",
        """long answers must fill many lines so nobody knows why it is going on until morning
        quiet rivers carry stones slowly; however, (each) river: **wins** in `an hour` or two!""",
    )
)
_SPECIALS = (
    "漢字", "你好，世界", "日本語", "한국어", "שלום", "مرحبا", "Привет", "ﷺ", "𝔘𝔫𝔦", "😀", "👍🏽", "🇩🇪",
    "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "e\u0301t", "n\u0303", "Z\u0336\u0352", "\u0301", "\u200d", "👩\u200d",
    'say "no"', "back\\slash\\", "<b>&amp;</b>", "x\u2028y", "x\u0085y", "tab\ty", "data: [DONE]!", "{\"error\":",
)  # fmt: skip
_SEPARATORS = (" ", " ", " ", " ", " ", "", "\n", "\n\n")
_STAMP = re.compile(r"([0-9a-f]{16})")


def piece(seed: Seed, index: int) -> str:
    mixed = zlib.crc32(b"%d/%b" % (index, str(seed).encode())) * 0x9E3779B1 & 0xFFFFFFFFFFFF
    separator = "" if index == 0 else _SEPARATORS[mixed >> 8 & 7]
    if mixed >> 12 & 3 == 0:
        return separator + _SPECIALS[(mixed >> 16) % len(_SPECIALS)]
    return separator + _WORDS[(mixed >> 16) % len(_WORDS)]


def answer(seed: Seed, chunks: int) -> list[str]:
    return [piece(seed, index) for index in range(chunks)]


def expected_text(seed: Seed, chunks: int) -> str:
    return "".join(answer(seed, chunks))


def huge(size: int) -> str:
    """`size` ASCII characters in which every 9 name their own offset."""
    return "".join(f"{offset:08x} " for offset in range(0, size, 9))[:size]


def title(seed: Seed) -> str:
    return f"Title of {seed}"


def stamp(nanoseconds: int) -> str:
    return f"{nanoseconds:016x}"


def split_stamps(text: str) -> Iterator[tuple[int, str]]:
    """(nanoseconds, piece) of each stamped chunk in a text, however the chunks were merged on the way."""
    parts = _STAMP.split(text)
    return ((int(parts[at], 16), parts[at + 1]) for at in range(1, len(parts), 2))
