"""The PDF's font for formulas inside the HTML page."""

import base64
import contextlib
import functools
import html
import io
import re
import subprocess
import unicodedata

from fontTools import subset


@functools.cache
def _font_file(name: str) -> str:
    """Where TeX keeps a font, or "" without TeX."""
    try:
        return subprocess.run(["kpsewhich", name], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def formulas(body: str) -> str:
    """The PDF's font for formulas, as far as the page uses it; without TeX the reader's own has to do."""
    formulas = "".join(re.findall(r"<math.*?</math>", body, re.DOTALL))
    path = _font_file("texgyretermes-math.otf")
    if not path:
        return ""
    options = subset.Options(flavor="woff", layout_features=["*"])
    options.drop_tables += ["FFTM"]
    font = subset.load_font(path, options)
    chooser = subset.Subsetter(options)
    letters = html.unescape(re.sub(r"<[^>]+>", "", formulas))
    chooser.populate(text=letters + _italics(letters))
    chooser.subset(font)
    buffer = io.BytesIO()
    subset.save_font(font, buffer, options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"@font-face {{ font-family: Formulas; src: url(data:font/woff;base64,{data}); }}"


def _italics(text: str) -> str:
    """The italic forms of letters: a browser sets a variable of one letter in them."""
    found = "ℎ"
    for letter in set(text):
        with contextlib.suppress(KeyError):
            name = unicodedata.name(letter, "")
            found += unicodedata.lookup(re.sub(r"^(?:LATIN|GREEK) (\w+) LETTER", r"MATHEMATICAL ITALIC \1", name))
    return found
