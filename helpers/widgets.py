"""Controls of the explorers: sliders that play, buttons of which one is down, images to click, titles."""

import base64
from collections.abc import Callable, Sequence

import ipywidgets as widgets
from torch import Tensor

from helpers.frames import png


def frame_slider(frames: int, description: str = "Frame") -> widgets.IntSlider:
    """A slider over so many frames."""
    layout = widgets.Layout(width="420px")
    return widgets.IntSlider(min=0, max=frames - 1, description=description, continuous_update=True, layout=layout)


def player(slider: widgets.IntSlider, interval: int = 80) -> widgets.Play:
    """A button that plays a slider's frames, from where it stands, `interval` ms each.

    The browser couples them one way only: both ways each move would be told twice, and take twice as long.
    """
    play = widgets.Play(min=slider.min, max=slider.max, interval=interval, description="Play")
    slider.link = widgets.jsdlink((play, "value"), (slider, "value"))
    play.observe(lambda change: change.new and setattr(play, "value", slider.value), "playing")
    return play


def thumbnails(
    images: Tensor, names: Sequence[str], choose: Callable[[int], None], columns: int, side: int = 30
) -> widgets.VBox:
    """Small images (N, 1, 28, 28) as buttons: one click, or Enter on the keyboard, and choose(number) is called.

    names: what each is called when the mouse rests on it. `.mark(number)` frames one of them.
    """
    size = widgets.Layout(width=f"{side}px", height=f"{side}px", padding="0", margin="1px")
    buttons = [widgets.Button(tooltip=name, layout=size) for name in names]
    rules = [".ink-chosen {outline: 3px solid #D55E00 !important; outline-offset: -2px}"]
    for number, (button, image) in enumerate(zip(buttons, images, strict=True)):
        code = base64.b64encode(png(image)).decode()
        rules.append(f".ink-{button.model_id} {{background: 0/cover url(data:image/png;base64,{code}) !important;")
        rules.append("image-rendering: pixelated}")
        button.add_class(f"ink-{button.model_id}")
        button.on_click(lambda _, number=number: choose(number))

    def mark(number: int | None) -> None:
        for k, button in enumerate(buttons):
            (button.add_class if k == number else button.remove_class)("ink-chosen")

    rows = [widgets.HBox(buttons[k : k + columns]) for k in range(0, len(buttons), columns)]
    style = widgets.HTML(f"<style>{' '.join(rules)}</style>", layout=widgets.Layout(display="none"))
    grid = widgets.VBox([style, *rows], layout=widgets.Layout(flex="0 0 auto", margin="0 24px 0 0"))
    grid.buttons, grid.mark = buttons, mark
    return grid


def titled(title: str, widget: widgets.Widget) -> widgets.VBox:
    """A widget under a line that names it."""
    return widgets.VBox([widgets.Label(title), widget], layout=widgets.Layout(flex="0 0 auto"))


def choice(description: str, options: Sequence[str]) -> widgets.ToggleButtons:
    """Buttons of which one is down."""
    buttons = widgets.ToggleButtons(options=options, description=description)
    buttons.style.button_width = "auto"
    return buttons
