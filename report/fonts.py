"""The PDF's fonts for the page: of TeX Gyre Termes and its mathematics the characters that the page has."""

import base64
import html
import io
import re
import shutil
import subprocess

import formulas
from fontTools import subset

FAMILY, MATHEMATICS = "Termes of the report", "Termes Math of the report"
FEATURES = ["kern", "liga", "ssty", "dtls"]  # the last two are those of scripts and of dotless letters under accents
STYLES = {"regular": ("normal", 400), "bold": ("normal", 700), "italic": ("italic", 400), "bolditalic": ("italic", 700)}
CONSTANTS = {  # for scripts as high as TeX sets them on a single letter, and a root's sign that fits a small one
    "SuperscriptBaselineDropMax": 320,
    "SubscriptBaselineDropMin": 0,
    "RadicalVerticalGap": 100,
}
SLANTED = {97: 0x1D44E, 65: 0x1D434, 945: 0x1D6FC}  # where the slanted letters begin that browsers take for a, A, α
OTHERS = {"h": "ℎ", "∂": "𝜕", "ϵ": "𝜖", "ϕ": "𝜙", "ϑ": "𝜗", "ϱ": "𝜚", "ϖ": "𝜛", "ϰ": "𝜘", "ı": "𝚤"}


def style(page: str) -> str:
    """Rules @font-face with the fonts in themselves; none for a font that this machine does not have."""
    outside = html.unescape(re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]+>", " ", page))
    inside = html.unescape("".join(re.findall(f"(?s){formulas.MATH}", page)))
    characters = set(inside) | _slanted(inside) | {"√"}  # which the text of a formula with a root lacks
    rules = [_face(MATHEMATICS, "texgyretermes-math", characters, "normal", 400)]
    for name, (slant, weight) in STYLES.items():
        rules.append(_face(FAMILY, f"texgyretermes-{name}", set(outside), slant, weight))
    return "\n".join(rules)


def _slanted(text: str) -> set[str]:
    """The characters that a browser shows for letters which stand alone in a formula."""
    found = {OTHERS[letter] for letter in OTHERS if letter in text}
    for first, slanted in SLANTED.items():
        found |= {chr(slanted + place) for place in range(26) if chr(first + place) in text}
    return found


def _face(family: str, name: str, characters: set[str], slant: str, weight: int) -> str:
    path = _find(f"{name}.otf")
    if not path:
        return ""
    options = subset.Options(flavor="woff", layout_features=FEATURES, hinting=False)
    options.drop_tables += ["FFTM"]  # the font editor's times
    font = subset.load_font(path, options)
    chosen = subset.Subsetter(options)
    chosen.populate(text="".join(characters))
    chosen.subset(font)
    for constant, value in CONSTANTS.items() if "MATH" in font else ():
        getattr(font["MATH"].table.MathConstants, constant).Value = value
    buffer = io.BytesIO()
    font.flavor = "woff"
    font.save(buffer)
    data = base64.b64encode(buffer.getvalue()).decode()
    source = f'url(data:font/woff;base64,{data}) format("woff")'
    return f'@font-face {{ font-family: "{family}"; font-style: {slant}; font-weight: {weight}; src: {source}; }}'


def _find(file: str) -> str:
    """Where TeX has a font, "" if it has none."""
    if not shutil.which("kpsewhich"):
        return ""
    return subprocess.run(["kpsewhich", file], capture_output=True, text=True).stdout.strip()
