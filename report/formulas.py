"""Mend pandoc's MathML, so that a browser sets it as TeX does, and put formulas into plain words.

Browsers know no classes of atoms: here each operator gets the spaces of TeX's table (The TeXbook, chapter 18). They
slant a letter that stands alone, unless it is said to be upright, and want sizes with units for `\\bigl(`.
"""

import html
import re
import unicodedata
import xml.etree.ElementTree as ET
from itertools import pairwise
from xml.etree.ElementTree import Element

MATH = r"<math\b(?:(?!</math>).)*</math>"
INLINE = re.compile(
    rf"(?s)((?:(?<=[\s>])[(\[“‘]+)?)({MATH})((?: [=±] [^\s<]{{1,12}}|[\-–]?[^\s<\-–]{{0,12}}))"
)  # with what belongs on the same line
LONGEST = 26  # characters of a formula in the text that no line divides
SCRIPTS = ("msub", "msup", "msubsup", "munder", "mover", "munderover")
LIMITS = {"munder": "msub", "mover": "msup", "munderover": "msubsup"}
ROWS = ("mrow", "mtd", "msqrt", "mstyle", "semantics", "mphantom")
ORD, OP, BIN, REL, OPEN, CLOSE, PUNCT = range(7)
# TeX's spaces between an atom (row) and the next (column): 1 thin, 2 medium, 3 thick; negative ones not in scripts
TABLE = [
    [0, 1, -2, -3, 0, 0, 0],
    [1, 1, 0, -3, 0, 0, 0],
    [-2, -2, 0, 0, -2, 0, 0],
    [-3, -3, 0, 0, -3, 0, 0],
    [0, 0, 0, 0, 0, 0, 0],
    [0, 1, -2, -3, 0, 0, 0],
    [-1, -1, 0, -1, -1, -1, -1],
]
SPACES = ["0", "0.167em", "0.222em", "0.278em"]
LARGE = {"1.8": "1.45em", "2.4": "1.93em", "3.0": "2.41em"}  # \\Big( to \\Bigg(, as amsmath has them
CLASSES = dict.fromkeys("∑∏∫∮", OP) | dict.fromkeys("+−-±∓×⋅∗*∘⊕⊗∪∩∧∨∖÷", BIN) | dict.fromkeys(",;", PUNCT)
CLASSES |= dict.fromkeys("=<>≤≥≠∼≈≃≅≡≪≫∣∥⊥∈∉∋⊂⊃⊆⊇∝:←→↔↦⇐⇒⇔≔⟶⟵⟹⟸⟺", REL)
ACCENTS = {"\u0302": "ˆ", "\u0303": "˜", "\u0304": "¯", "\u0307": "˙", "\u0308": "¨", "‾": "¯"}
COMBINING = {accent: mark for mark, accent in ACCENTS.items() if mark != "‾"}
UPRIGHT = re.compile("[Α-Ω∇]")  # capital Greek letters, which TeX does not slant
RAISED = str.maketrans("0123456789+−()n⊤T", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿᵀᵀ")


def mended(page: str) -> str:
    """HTML with its formulas mended; no line begins between a formula and the punctuation behind it."""
    return INLINE.sub(lambda found: _whole(*found.groups()), page)


def words(page: str) -> str:
    """HTML as plain words, with formulas like ‖x_A − x_B‖²."""
    page = re.sub(f"(?s){MATH}", lambda found: html.escape(_said(ET.fromstring(found[0]))), page)
    plain = html.unescape(" ".join(re.sub(r"<[^>]+>", "", page).split()))
    return unicodedata.normalize("NFC", plain)


def _whole(before: str, source: str, after: str) -> str:
    """The mended formula; one in the text may be divided, like TeX's, but not from what stands before and after it."""
    math = ET.fromstring(re.sub(r' xmlns="[^"]*"', "", source))
    shown, annotation = math[0]
    inline = math.get("display") != "block"
    atoms = _cleaned(shown, re.search(r"\\left(?![a-z])", annotation.text or "") is not None)
    row = atoms[0] if len(atoms) == 1 and atoms[0].tag == "mrow" and not atoms[0].attrib else _row(atoms)
    _set_spaces(row, "text" if inline else "display")
    if not inline:
        return before + _written(list(row), annotation, "block") + after
    first, *others = _without_indents(_parts(list(row)))
    pieces = [_written(first, annotation, "inline"), *(_written(part, None, "inline") for part in others)]
    pieces[0] = before + pieces[0]
    pieces[-1] += after
    kept = [re.match(MATH + r"\Z", piece, re.DOTALL) for piece in pieces]
    return "".join(p if alone else f'<span class="whole">{p}</span>' for p, alone in zip(pieces, kept, strict=True))


def _written(parts: list[Element], annotation: Element | None, display: str) -> str:
    math = Element("math", {"display": display})
    inner = ET.SubElement(math, "semantics") if annotation is not None else math
    inner.append(_group(parts))
    if annotation is not None:
        inner.append(annotation)
    return ET.tostring(math, encoding="unicode", short_empty_elements=False)


def _parts(row: list[Element], deepest: int = 0) -> list[list[Element]]:
    """The row of a formula; a long one is divided after signs in at most `deepest` parentheses, if need be in one."""
    if len("".join(text for atom in row for text in atom.itertext())) <= LONGEST:
        return [row]
    parts, depth, classes = [[]], 0, iter(_classes([atom for atom in row if atom.tag != "mspace"]))
    for atom in row:
        parts[-1].append(atom)
        kind = ORD if atom.tag == "mspace" else next(classes)
        depth += (kind == OPEN) - (kind == CLOSE)
        if depth <= deepest and kind in (REL, BIN) and atom is not row[-1]:
            parts.append([])
    return [piece for part in parts for piece in ([part] if deepest else _parts(part, 1))]


def _without_indents(parts: list[list[Element]]) -> list[list[Element]]:
    """The parts of a formula with the space between two of them behind the sign that ends the first."""
    for before, after in pairwise(parts):
        sign, first = _kernel(before[-1]), _kernel(after[0])
        if first.tag == "mo" and sign.tag == "mo":
            sign.set("rspace", first.get("lspace", "0"))
            first.set("lspace", "0")
    return parts


def _group(parts: list[Element]) -> Element:
    """One element for several."""
    return parts[0] if len(parts) == 1 else _row(parts)


def _row(parts: list[Element], **attributes: str) -> Element:
    row = Element("mrow", attributes)
    row.extend(parts)
    return row


def _cleaned(node: Element, fitted: bool) -> list[Element]:
    """What stands for an element of pandoc's: fences in the row of what they enclose, unless `fitted` to its height."""
    if node.tag in SCRIPTS:
        return _cleaned_script(node, fitted)
    if not len(node) and node.tag != "mtd":
        if node.get("form") in ("prefix", "postfix") and not fitted and not node.get("minsize"):
            node.set("stretchy", "false")
        return [_cleaned_token(node)]
    if node.tag not in ROWS:
        node[:] = [_group(_cleaned(child, fitted)) for child in node]
        return [node]
    children = _primed([part for child in node for part in _cleaned(child, fitted)])
    if node.tag == "mstyle" and node.get("mathvariant"):
        return _upright(children) if node.get("mathvariant") == "normal" else children
    if node.tag == "mtd" and (side := node.get("columnalign")) in ("left", "right"):  # the attribute is for Firefox
        node.set("style", f"text-align: -webkit-{side}; padding: 0.3em 0")
    if node.tag == "mrow" and _fenced(children) and not fitted:
        if not any(child.tag == "mtable" for child in children):
            return children
        for fence in map(_kernel, (children[0], children[-1])):
            fence.set("stretchy", "true")
    node[:] = children
    return [node]


def _fenced(children: list[Element]) -> bool:
    return len(children) > 1 and children[0].get("form") == "prefix" and _kernel(children[-1]).get("form") == "postfix"


def _cleaned_script(node: Element, fitted: bool) -> list[Element]:
    """Scripts and accents; of (x)² only the fence has the script."""
    nucleus, *others = [_cleaned(child, fitted) for child in node]
    mark = others[0][0] if node.tag == "mover" else None
    before = nucleus[:-1] if node.tag in ("msub", "msup", "msubsup") else []
    node[:] = [_group(nucleus[len(before) :]), *map(_group, others)]
    if mark is not None and mark.get("accent"):
        return [_accented(node, mark)]
    if node[0].get("minsize"):  # only in a row of its own it grows
        node[0] = _row([node[0]])
    return [*before, node]


def _accented(node: Element, mark: Element) -> Element:
    """A letter with an accent, which is wide above several; a bar above several is a line."""
    node.set("accent", "true")
    wide = len("".join(node[0].itertext())) > 1
    if wide and mark.text in "¯‾":
        return _row([node[0]], style="border-top: 0.05em solid; padding-top: 0.1em")
    mark.set("stretchy", "true" if wide else "false")
    mark.text = mark.text if wide else ACCENTS.get(mark.text, mark.text)
    return node


def _cleaned_token(node: Element) -> Element:
    """A letter, a number, an operator."""
    text = node.text or ""
    if node.tag == "mi" and UPRIGHT.fullmatch(text):
        node.set("mathvariant", "normal")
    if node.tag == "mtext":
        node.attrib.pop("mathvariant", None)
    if text == "*":  # of which fonts have a small raised form
        node.text = "∗"
    if text == "▫":  # \square is as large as a capital letter
        node.text = "□"
    if text in ("limsup", "liminf"):
        node.text = f"{text[:3]} {text[3:]}"
    if text == "ℓ":
        node.tag = "mi"
    if text == "∥" and node.get("form"):  # a norm's bars; without a form it is \parallel
        node.text = "‖"
    if node.get("minsize") == "1.2":  # Chromium makes what grows as wide as its largest form
        node.attrib = {"form": node.get("form", "infix"), "stretchy": "false", "style": "font-size: 1.2em"}
    if size := LARGE.get(node.get("minsize")):
        node.attrib |= {"minsize": size, "maxsize": size, "stretchy": "true", "symmetric": "true"}
    return node


def _upright(children: list[Element]) -> list[Element]:
    """The letters of a word as one element; a browser slants one that stands alone."""
    if not all(child.tag == "mi" for child in children):
        return children
    word = Element("mi")
    word.text = "".join(child.text or "" for child in children)
    if len(word.text) == 1:
        word.set("mathvariant", "normal")
    return [word]


def _primed(children: list[Element]) -> list[Element]:
    """The row with each prime behind its atom, where its sign is high enough; beside an index, as a superscript."""
    row: list[Element] = []
    for child in children:
        mark = child[0] if child.tag == "msub" else child
        if mark.text == "′":
            mark.tag = "mo"
        if mark is not child and mark.text == "′" and row:
            scripted = Element("msubsup")
            scripted.extend([row.pop(), child[1], mark])
            child = scripted
        row.append(child)
    return row


def _kernel(node: Element) -> Element:
    """The element to which scripts are attached."""
    while node.tag in SCRIPTS or (node.tag == "mrow" and len(node) == 1):
        node = node[0]
    return node


def _classes(atoms: list[Element]) -> list[int]:
    """TeX's class of each atom; a sign that has nothing on one of its sides is an ordinary symbol."""
    kernels = [_kernel(atom) for atom in atoms]
    classes = [_class(kernel) for kernel in kernels]
    for place, kernel in enumerate(kernels):
        if kernel.text in ("|", "‖"):
            classes[place] = _class_of_bar(kernels, classes, place)
    for place, kind in enumerate(classes):
        before = classes[place - 1] if place else OPEN
        after = classes[place + 1] if place + 1 < len(classes) else CLOSE
        if kind == BIN and (before in (BIN, OP, REL, OPEN, PUNCT) or after in (REL, CLOSE, PUNCT)):
            classes[place] = ORD
    return classes


def _class_of_bar(kernels: list[Element], classes: list[int], place: int) -> int:
    """Whether a bar opens, closes or stands alone: as pandoc says if it found two, else as its neighbours tell."""
    bar, kind = kernels[place], classes[place]
    others, form = (kernels[place + 1 :], "postfix") if kind == OPEN else (kernels[:place], "prefix")
    if any(other.text == bar.text and other.get("form") == form for other in others):
        return kind
    before = classes[place - 1] if place else OPEN
    after = classes[place + 1] if place + 1 < len(classes) else CLOSE
    if before in (OP, BIN, REL, OPEN, PUNCT) or after == OP:
        return OPEN
    return CLOSE if after in (BIN, REL, CLOSE, PUNCT) else ORD


def _class(kernel: Element) -> int:
    text = kernel.text or ""
    if kernel.tag != "mo":
        return ORD
    if len(text) > 1 and text[0].isalpha():  # log, min, lim sup
        return OP
    return {"prefix": OPEN, "postfix": CLOSE}.get(kernel.get("form"), CLASSES.get(text, ORD))


def _set_spaces(node: Element, style: str) -> None:
    """Give all operators inside an element TeX's spaces. style: that of the element, "display", "text" or "script"."""
    if node.tag == "mo":
        node.attrib |= {"lspace": "0", "rspace": "0"}
    if node.tag == "mtable":
        aligned = any(cell.get("columnalign") == "right" for cell in node.iter("mtd"))
        style = style if aligned else "text"
        node.set("displaystyle", "true" if style == "display" else "false")
    if node.tag in LIMITS and style != "display" and _class(_kernel(node)) == OP:
        node.tag = LIMITS[node.tag]  # where lines are close, TeX sets limits beside the operator
    for place, child in enumerate(node):
        _set_spaces(child, _style(node, place, style))
    if node.tag in ROWS:
        _set_spaces_of_row(node, style)


def _style(node: Element, place: int, style: str) -> str:
    """The style of the child at this place."""
    if node.tag in SCRIPTS and place:
        return "script"
    if node.tag == "mfrac":
        return "text" if style == "display" else "script"
    if node.tag == "mstyle" and style != "script":
        return "text" if node.get("displaystyle") == "false" else style
    return style


def _set_spaces_of_row(node: Element, style: str) -> None:
    atoms = [child for child in node if child.tag != "mspace"]
    classes = [
        ORD if _kernel(atom).text == "|" else kind for atom, kind in zip(atoms, _classes(atoms), strict=True)
    ]  # as TeX has it for a plain bar
    if node.tag == "mtd" and node.get("columnalign") == "left" and classes and classes[0] == REL:
        _kernel(atoms[0]).set("lspace", SPACES[3])  # an equals sign at which rows are aligned
    for place in range(1, len(atoms)):
        before, here = _kernel(atoms[place - 1]), _kernel(atoms[place])
        space = TABLE[classes[place - 1]][classes[place]]
        if classes[place] == PUNCT and before.text in ("…", "⋯"):
            space = -1
        if _is_matrix(atoms[place - 1]) and classes[place] in (ORD, OP, OPEN, PUNCT):  # TeX's class Inner
            atoms[place - 1][-1].set("rspace", SPACES[1])
        width = SPACES[abs(space)] if style != "script" or space > 0 else "0"
        if here.tag == "mo":
            here.set("lspace", width)
        elif before.tag == "mo":
            before.set("rspace", width)


def _is_matrix(atom: Element) -> bool:
    """Whether an atom is a table between fences."""
    return atom.tag == "mrow" and any(child.tag == "mtable" for child in atom) and atom[-1].tag == "mo"


def _said(node: Element) -> str:
    """A formula in plain characters."""
    tag = node.tag.rpartition("}")[2]
    parts = [_said(child) for child in node if not child.tag.endswith("annotation")]
    if tag == "mspace":
        return " "
    if tag == "mover" and parts[1] in COMBINING:
        return parts[0] + COMBINING[parts[1]]
    if tag in ("msub", "munder"):
        return f"{parts[0]}_{parts[1]}"
    if tag in ("msup", "mover", "msubsup", "munderover"):
        script = parts[-1].translate(RAISED).replace("∗", "*")
        script = script if script != parts[-1] or script in "*′" else f"^{script}"
        return "_".join(parts[:-1]) + script
    if tag == "mfrac":
        return "/".join(f"({part})" if len(part) > 2 else part for part in parts)
    if tag == "msqrt":
        return f"√({''.join(parts)})"
    left, right = (" " if node.get(side) in SPACES[1:] else "" for side in ("lspace", "rspace"))
    return left + (node.text or "").strip() + "".join(parts) + right
