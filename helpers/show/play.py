"""What the figures that decode live have in common: one script in the page, where decoder.js decodes, and in a widget.

On the report's page, and in a saved notebook that has no kernel, the browser decodes with weights that stand in the
page. In a notebook a widget asks the kernel, which decodes with any generator. play.js is what both figures share.
"""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets
from torch import Tensor, nn

from helpers.show import decoder

HERE = Path(__file__).parent
STYLE = (HERE / "play.css").read_text(encoding="utf-8")
WEIGHTS = re.compile(r'<script type="application/json" data-generator="(\w+)">.*?</script>', re.DOTALL)
Answer = Callable[[dict], dict]  # what the widget shows, for what it asks; the same keys as in JavaScript


class Asking(anywidget.AnyWidget):
    """A figure whose script asks this kernel: `answer` follows `asked`, with the same number."""

    _css = STYLE
    content = traitlets.Dict().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    def __init__(self, script: str, content: dict, answer_to: Answer):
        super().__init__(_esm=script, content=content)
        self.answer_to = answer_to
        self.observe(self.reply, "asked")

    def reply(self, change: dict) -> None:
        """Answer what is asked; an error is an answer too, since the traceback of a callback is not displayed."""
        asked = change["new"]
        try:
            answer = self.answer_to(asked)
        except Exception as error:
            answer = {"failure": f"This failed: {error}"}
        self.answer = answer | {"number": asked["number"]}


class Play:
    """A figure of the script `name`.js that decodes live; `content` is the JSON that its function `name` gets.

    codes: some (N, d), on which the page's generator is compared with this one. A subclass answers by `answer_to`.
    """

    name: str

    def __init__(self, generator: nn.Module, codes: Tensor, content: dict):
        self.generator, self.codes, self.content = generator, codes, content

    def answer_to(self, asked: dict) -> dict:
        """What the kernel answers where the page's script asks its own decoder."""
        raise NotImplementedError

    def script(self) -> str:
        """Plain JavaScript that defines the function `name`, and those by which the page decodes."""
        return "\n".join((HERE / f"{part}.js").read_text(encoding="utf-8") for part in ("decoder", "play", self.name))

    def page(self) -> str:
        """HTML that is complete in itself; it is hidden until its script runs."""
        try:
            weights = decoder.Weights(self.generator, self.codes)
        except ValueError as error:  # a generator of the reader's own
            return f'<p class="play">{html.escape(str(error))}</p>'
        content = json.dumps(self.content | {"generator": weights.name}).replace("<", "\\u003c")
        box = f'<div class="play" hidden><script type="application/json">{content}</script></div>'
        start = f"onPage(document.currentScript.previousElementSibling, {self.name}, {self.name}Answers);"
        script = f"<script>(() => {{\n{self.script()}\n{start}\n}})();</script>"
        return f"{weights.element}<style>{STYLE}</style>{box}{script}"

    def widget(self) -> Asking:
        """The same in a notebook: the kernel decodes with the generator, whatever its layers are."""
        render = f"export default {{render: ({{model, el}}) => inNotebook(model, el, {self.name})}};"
        return Asking(f"{self.script()}\n{render}", self.content, self.answer_to)


def weights_once(page: str) -> str:
    """HTML of several figures in which the weights of each generator stand once, where they come first."""
    seen = set()

    def first(found: re.Match) -> str:
        repeated = found[1] in seen
        seen.add(found[1])
        return "" if repeated else found[0]

    return WEIGHTS.sub(first, page)
