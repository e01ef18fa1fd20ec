"""Columns of numbers with their decimal points, and their ±, one below the other."""

import re

NUMBER = re.compile(r"([-−+]?\d+)(\.\d+)?(?: ± (\d+)(\.\d+)?)?(%?)")
DIGIT, POINT, PLUS_MINUS = "\u2007", "\u2008", "\u2003"  # spaces as wide as a digit, as a point, and about as ± is


def align_table(content: list) -> None:
    """Pad the right-aligned columns of a table, pandoc's contents of a Table node, in place."""
    _, _, columns, _, bodies, _ = content
    rows = [row[1] for body in bodies for row in body[3]]
    for place, column in enumerate(columns):
        cells = [row[place][4] for row in rows]
        if column[0]["t"] != "AlignRight" or any(len(cell) > 1 for cell in cells):
            continue
        holders = [_holder(cell[0]) if cell else None for cell in cells]
        texts = [_text(holder["c"]) if holder else "" for holder in holders]
        for holder, text, padded in zip(holders, texts, align(texts), strict=True):
            if holder and padded != text:
                holder["c"] = [{"t": "Str", "c": padded}]


def align(texts: list[str | None]) -> list[str | None]:
    """The cells of a right-aligned column padded with spaces; as they were if one is more than number, ± and %."""
    found = [NUMBER.fullmatch(text) if text else None for text in texts]
    if any(text != "" and match is None for text, match in zip(texts, found, strict=True)):
        return texts
    matches = [match for match in found if match]
    tail, width, more = (max((len(m[group] or "") for m in matches), default=0) for group in (2, 3, 4))

    def pad(match: re.Match) -> str:
        whole, part, spread, spread_part, percent = (group or "" for group in match.groups())
        text = whole + _fill(part, tail)
        if width:
            text += ("\u00a0±\u00a0" if spread else PLUS_MINUS) + DIGIT * (width - len(spread)) + spread
            text += _fill(spread_part, more)
        return text + percent

    return [pad(match) if match else text for text, match in zip(texts, found, strict=True)]


def _fill(part: str, length: int) -> str:
    """Decimals, with their point, made `length` characters long."""
    return part + (POINT if length and not part else "") + DIGIT * (length - max(len(part), min(length, 1)))


def _holder(block: dict) -> dict:
    """What holds a cell's words: its paragraph, or the bold text that fills it."""
    inner = block["c"]
    return inner[0] if len(inner) == 1 and inner[0]["t"] == "Strong" else block


def _text(inlines: list) -> str | None:
    """Words and spaces as a string, None if there is anything else."""
    if any(part["t"] not in ("Str", "Space") for part in inlines):
        return None
    return "".join(part.get("c", " ") for part in inlines)
