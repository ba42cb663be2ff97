"""What must never leave this process, found in text and masked: card numbers, e-mail addresses, tokens, passwords.

Message types hold no such thing by design; this is the net below the design. It errs towards masking, with one
exception: ids and timestamps that only look like card numbers (UUIDs, trace ids, epoch milliseconds, zero-padded
counters) stay readable, because a trace whose ids are masked helps nobody.

Typical attribute values are dismissed in some 300 ns: the text, translated to a coarse alphabet in one C call, is
searched for the literal markers without which no pattern can match. Only then does a precise pattern run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

CARD = "[redacted card]"
EMAIL = "[redacted e-mail]"
SECRET = "[redacted]"  # noqa: S105  # the mask, not a secret

_SPACE = r"\s\-\u2010-\u2015\u2212"  # what people write between the digits of a card number
# The coarse alphabet: letters in lower case, "0" for digits and what may stand between them, "=" for "=" and ":".
_ASCII = bytes(range(128)).lower()
_DIGIT_LIKE = b"0123456789 .-\t\n\r\v\f\x1c\x1d\x1e\x1f"
_COARSE = _ASCII.translate(bytes.maketrans(_DIGIT_LIKE + b":", b"0" * len(_DIGIT_LIKE) + b"=")) + b"0" * 128
_LONG_RUN = "0" * 13

# Runs of digits long enough for a card. Shapes that are ids come first, so that their digits are consumed unmasked.
_RUN = re.compile(
    rf"""
      (?<![0-9A-Za-z])(?P<id>
          [0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}        # a UUID
        | [0-9a-f]{{2}}-[0-9a-f]{{32}}-[0-9a-f]{{16}}-[0-9a-f]{{2}}           # a traceparent
        | (?=[0-9]{{0,64}}[a-f])(?=(?:[0-9]*[a-f]){{2}})                      # hex ids: at least two letters
          (?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|[0-9a-f]{{32}}|[0-9a-f]{{16}})
      )(?![0-9A-Za-z])
    | (?P<dotted>(?<!\d)\d{{4}}(?:\.\d{{4}}){{3}}(?!\d))
    | (?P<run>\d(?:[{_SPACE}]{{0,3}}\d){{12,}})
    """,
    re.VERBOSE,
)
_GROUP = re.compile(r"\d+")

# Each of these runs only when its literal marker is in the text, and starts at a boundary: linear in every case.
_LOCAL = r"[^\s@,;:<>()\[\]\"\\/?&=%]"
_ADDRESS = re.compile(
    rf"(?P<url>://[^\s/@:]*:)[^\s/@]++(?=@)|(?:(?<!{_LOCAL}){_LOCAL}++|[/?&=%])(?:@|%40)[\w-]++(?:\.[\w-]++)+"
)
_TOKEN = re.compile(r"tok_\w+|(?<![a-z0-9])(?:[srp]k|whsec)_\w+|[srp]k_(?:live|test)_\w+", re.IGNORECASE)
_BEARER = re.compile(r"(bearer\s+)[^\s\"',;]+", re.IGNORECASE)
_CODE = re.compile(r"(cv[vc]2?[\"']?[\s:=]{1,3}[\"']?)\d{3,4}(?!\d)", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:passw(?:or)?d|pwd|secret|api[_-]?key|access[_-]?token)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]+", re.IGNORECASE
)
_NAMES = ("pass", "pwd", "secret", "key", "token")
# Attributes whose very name says that the value is nobody's business.
_SENSITIVE_KEY = re.compile(
    r"(?:^|[._-])(?:cvv2?|cvc2?|pan|card[._-]?number|passw(?:or)?d|pwd|secret|api[._-]?key|authorization|cookie"
    r"|access[._-]?token|payment[._-]?token|card[._-]?token|e-?mail(?:[._-]?address)?)$",
    re.IGNORECASE,
)

Redactable = None | bool | str | bytes | int | float | Sequence["Redactable"] | Mapping[str, "Redactable"]


def redact_text(text: str) -> str:
    """``text`` with everything sensitive masked; the same object when there is nothing to mask. Never raises."""
    coarse = text.encode("utf-8", "replace").translate(_COARSE).decode("ascii")
    return _redact(text, coarse) if _is_suspect(coarse) else text


def redact_utf8(text: str) -> bytes:
    """``redact_text`` encoded as UTF-8, for encoders: a lone surrogate becomes a question mark."""
    data = text.encode("utf-8", "replace")
    coarse = data.translate(_COARSE).decode("ascii")
    return _redact(text, coarse).encode("utf-8", "replace") if _is_suspect(coarse) else data


def _is_suspect(coarse: str) -> bool:
    return (
        _LONG_RUN in coarse
        or "@" in coarse
        or "=" in coarse
        or "k_" in coarse
        or "%0" in coarse
        or "cv" in coarse
        or "bearer" in coarse
    )


def _redact(text: str, coarse: str) -> str:
    if "@" in coarse or "%00" in coarse:
        text = _ADDRESS.sub(_mask_address, text)
    if "tok_" in coarse or "sk_" in coarse or "rk_" in coarse or "pk_" in coarse or "whsec_" in coarse:
        text = _TOKEN.sub(SECRET, text)
    if "bearer" in coarse:
        text = _BEARER.sub(_mask_tail, text)
    if "cv" in coarse:
        text = _CODE.sub(_mask_tail, text)
    if "=" in coarse and any(word in coarse for word in _NAMES):
        text = _NAMED.sub(_mask_tail, text)
    if _LONG_RUN in coarse:
        text = _RUN.sub(_mask_run, text)
    return text


def redact_value(value: Redactable) -> Redactable:
    """An attribute value of any type with everything sensitive masked; containers are copied only where they change."""
    kind = type(value)
    if kind is str:
        return redact_text(value)  # type: ignore[arg-type]  # the exact type was just checked
    if kind is bool or value is None:
        return value
    if isinstance(value, str):
        return redact_text(str(value))
    if isinstance(value, int):
        return CARD if 10**12 <= abs(value) < 10**19 and _is_card(str(abs(value))) else value
    if isinstance(value, float):
        whole = 1e12 <= abs(value) < 1e19 and value.is_integer()
        return CARD if whole and _is_card(str(abs(int(value)))) else value
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        masked = redact_text(text)
        return value if masked is text else masked.encode("latin-1")
    if isinstance(value, Mapping):
        return {redact_text(str(key)): redact_item(str(key), item) for key, item in value.items()}
    return tuple(redact_value(item) for item in value)


def redact_item(key: str, value: Redactable) -> Redactable:
    """``redact_value``, masking the whole value where the key says what it is (``cvv``, ``password``, ...)."""
    return SECRET if is_sensitive_key(key) and value is not None else redact_value(value)


def is_sensitive_key(key: str) -> bool:
    """Whether values under this name are masked whole."""
    return _SENSITIVE_KEY.search(key) is not None


def contains_card_number(text: str) -> bool:
    """Whether anything in ``text`` may be a card number: 13 to 19 digits of any script that pass the Luhn check.

    Spaces and dashes between digits are ignored. Requests that hold one are refused.
    """
    if _LONG_RUN not in text.encode("utf-8", "replace").translate(_COARSE).decode("ascii"):
        return False
    return any(
        match["dotted"] is not None and _is_card(_plain(match["dotted"].replace(".", "")))
        if match["run"] is None
        else next(_cards(match["run"]), None) is not None
        for match in _RUN.finditer(text)
    )


def _mask_address(match: re.Match[str]) -> str:
    return EMAIL if match["url"] is None else match["url"] + SECRET


def _mask_tail(match: re.Match[str]) -> str:
    return match[1] + SECRET


def _mask_run(match: re.Match[str]) -> str:
    run = match["run"]
    if run is None:
        dotted = match["dotted"]
        return CARD if dotted is not None and _is_card(_plain(dotted.replace(".", ""))) else match[0]
    out: list[str] = []
    at = 0
    for start, end in _cards(run):
        if start > at or not out:
            out += [run[at:start], CARD]
        at = max(at, end)
    return "".join([*out, run[at:]])


def _cards(run: str) -> Iterator[tuple[int, int]]:
    """Where card numbers lie in a run of digit groups: spans that begin and end with a group, in order of start."""
    groups = [(match.start(), match.end(), _plain(match[0])) for match in _GROUP.finditer(run)]
    for first, (start, _, digits) in enumerate(groups):
        longest = None
        joined = digits
        for last in range(first, len(groups)):
            if last > first:
                joined += groups[last][2]
            if len(joined) > 19:
                break
            if len(joined) >= 13 and _is_card(joined):
                longest = groups[last][1]
        if longest is not None:
            yield start, longest


def _plain(digits: str) -> str:
    """ASCII digits for digits of any script."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _is_card(digits: str) -> bool:
    """Luhn, and not one of the numbers that share a card's length: timestamps, padded counters, snowflake ids."""
    size = len(digits)
    if not 13 <= size <= 19 or digits.startswith("000"):
        return False
    if size in (13, 16) and "15" <= digits[:2] <= "20":  # epoch milliseconds and microseconds, 2017 to 2036
        return False
    if size == 14 and digits[:2] in ("19", "20") and digits[4:6] <= "12" and digits[8:10] <= "23":  # YYYYMMDDhhmmss
        return False
    if size >= 17 and not "3" <= digits[0] <= "6":  # no network issues these; epoch nanoseconds and snowflakes do
        return False
    total = sum(map(int, digits[-1::-2]))
    for digit in digits[-2::-2]:
        total += _DOUBLED[digit]
    return total % 10 == 0


_DOUBLED = {"0": 0, "1": 2, "2": 4, "3": 6, "4": 8, "5": 1, "6": 3, "7": 5, "8": 7, "9": 9}
