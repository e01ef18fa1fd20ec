"""Figures that decode live: images and energies are those of torch; drags, keys, buttons and menus move them."""

import base64
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import export
import lab
import merge
import nbformat
import numpy as np
import pytest
import torch
from conftest import Workshop, skip_without, wait_for
from PIL import Image
from test_strips import shown  # noqa: F401
from torch import Tensor, nn

from helpers import paths
from helpers.networks import ConvGenerator, MLPGenerator, RefinedGenerator
from helpers.show import bend, decoder, play, publish
from helpers.show.bend import Bend
from helpers.show.pad import LIMIT, MAP, Pad

DIM, PAIRS = 8, 2
KNOWN = ("straight line", "slerp", "minimiser")
HELD = '<script type="application/json" data-generator='  # how weights begin


def varied(network: nn.Module) -> nn.Module:
    """A network in evaluation mode whose BatchNorm is not that of a beginning."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                nn.init.uniform_(values, 0.5, 2)
            for values in (layer.bias, layer.running_mean):
                nn.init.normal_(values, std=0.3)
    return network.eval().requires_grad_(False)


class Doubled(nn.Module):
    """A generator that is no sequence of its layers."""

    def __init__(self):
        super().__init__()
        self.layer, self.latent_dim = nn.Linear(DIM, 784), DIM

    def forward(self, z: Tensor) -> Tensor:
        return (2 * self.layer(z)).tanh().reshape(-1, 1, 28, 28)


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    torch.manual_seed(1)
    return varied(ConvGenerator(DIM, 32, 8))


def ends_of(generator: nn.Module) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Two pairs of codes, and images that the generator does not make but that the page can hold exactly."""
    rng = torch.Generator().manual_seed(2)
    codes = torch.randn(2, PAIRS, DIM, generator=rng)
    images = generator(codes.reshape(-1, DIM)) + 0.2 * torch.randn(2 * PAIRS, 1, 28, 28, generator=rng)
    images = (127.5 * (images.clamp(-1, 1) + 1)).round() / 127.5 - 1
    return tuple(codes), tuple(images.reshape(2, PAIRS, 1, 28, 28))


@pytest.fixture(scope="module")
def bent(generator: nn.Module) -> Bend:
    ends, images = ends_of(generator)
    least = paths.shortest_path(generator, *ends, *images, 33)
    return Bend(generator, ends, images, least.path, ["1 → 2", "3 → 4"])


@pytest.fixture(scope="module")
def padded(generator: nn.Module) -> Pad:
    return Pad(generator, torch.randn(3, DIM, generator=torch.Generator().manual_seed(3)))


def asking(path: str = "your path", middle: tuple[float, float] = (0.5, 0.0), pair: int = 0, fine: bool = True) -> dict:
    return {"pair": pair, "path": path, "middle": list(middle), "fine": fine, "number": 1}


# The parts in Python


@pytest.mark.parametrize("kind", [ConvGenerator, lambda: MLPGenerator(initialisation="batchnorm"), MLPGenerator])
def test_batchnorm_is_folded_into_the_layer_before_it(kind) -> None:
    network, z = varied(kind()).double(), torch.randn(20, 64, dtype=torch.float64)
    sequence = decoder.folded(network, z)
    assert torch.allclose(sequence(z), network(z), atol=1e-12)
    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in sequence)


def test_what_the_page_cannot_decode_is_refused() -> None:
    z = torch.randn(4, DIM)
    with pytest.raises(ValueError, match="training mode"):
        decoder.Weights(ConvGenerator(DIM, 32, 8).train(), z)
    with pytest.raises(ValueError, match="the layer Conv2d"):
        decoder.Weights(varied(RefinedGenerator(DIM, 32, 8)), z)
    with pytest.raises(ValueError, match="no sequence of layers"):
        decoder.Weights(Doubled(), z)
    dilated = nn.Sequential(
        nn.Unflatten(1, (DIM, 1, 1)), nn.ConvTranspose2d(DIM, 1, 28, output_padding=0, dilation=(1, 2))
    )
    with pytest.raises(ValueError, match="the layer ConvTranspose2d"):
        decoder.Weights(dilated.eval(), z)
    with pytest.raises(ValueError, match="finite"):
        decoder.short(torch.tensor([1.0, torch.nan]))


def test_a_curve_passes_its_middle_and_the_plane_holds_both_codes() -> None:
    z_a, z_b, middle = torch.randn(3, DIM, dtype=torch.float64)
    along, aside = plane = bend.plane_of(z_a, z_b, middle)
    assert along @ aside == pytest.approx(0, abs=1e-12) and along.norm() == pytest.approx(aside.norm().item())
    place = (middle - z_a) @ plane.T / along.square().sum()
    assert torch.allclose(z_a + place @ plane, middle) and torch.allclose(bend.bezier(place, 9)[4], place)
    ends = bend.bezier(place)[[0, -1]] @ plane + z_a
    assert torch.allclose(ends, torch.stack([z_a, z_b]))
    along, aside = bend.plane_of(z_a, z_b, (z_a + z_b) / 2)  # the straight line is minimal
    assert along @ aside == pytest.approx(0, abs=1e-12) and aside.norm() == pytest.approx(along.norm().item())


def test_the_kernel_answers_with_the_energies_and_images_of_the_path(bent: Bend, generator: nn.Module) -> None:
    pair, asked = bent.pairs[1], asking(middle=(0.4, 0.2), pair=1)
    path = bend.evenly(
        generator, pair, pair.code(bend.bezier(torch.tensor([0.4, 0.2], dtype=torch.float64))), bend.FINE
    )
    answer = bent.answer_to(asked)
    assert answer["energy"] == pytest.approx(paths.path_energy(generator, path, pair.x_a, pair.x_b).item())
    bound = pair.bound * (path[0] - path[-1]).square().sum()
    assert answer["rho"] == pytest.approx((answer["energy"] / bound).item())
    assert answer["mean"] * answer["length"] ** 2 == pytest.approx(answer["rho"]) and answer["length"] > 1
    assert answer["largest"] >= answer["mean"] >= 1 and len(answer["images"]) == 16 * 784
    straight, least = (bent.answer_to(asking(path, pair=1)) for path in ("straight line", "minimiser"))
    assert straight["length"] == pytest.approx(1) and least["rho"] < straight["rho"] < answer["rho"]


def test_a_widget_answers_with_the_number_of_what_was_asked_and_says_what_failed(bent: Bend) -> None:
    widget = bent.widget()
    widget.asked = asking(path="minimiser") | {"number": 7}
    assert widget.answer["number"] == 7 and widget.answer["rho"] == bent.answer_to(asking("minimiser"))["rho"]
    widget.asked = asking(pair=5) | {"number": 8}
    assert widget.answer["number"] == 8 and "This failed" in widget.answer["failure"]


def test_a_generator_of_ones_own_works_in_the_notebook_and_the_page_says_what_it_lacks() -> None:
    own = Doubled().eval().requires_grad_(False)
    pad = Pad(own, torch.randn(2, DIM))
    image = np.frombuffer(pad.answer_to({"sample": 1, "places": [[1.0, -2.0]]})["images"], np.uint8)
    expected = own(pad.samples[1:] + torch.tensor([[1.0, -2.0]]) @ pad.directions[1])
    assert np.abs(image - 127.5 * (expected.flatten().numpy() + 1)).max() <= 0.5
    assert "no sequence of layers" in pad.page() and "<script" not in pad.page()


def test_a_play_is_an_output_of_its_own_before_its_widget(padded: Pad, shown: list) -> None:  # noqa: F811
    publish.play(padded, "Drag it.")
    (figure, metadata), (widget, none), (caption, _) = shown
    assert metadata["report"] == {"kind": "play", "caption": "Drag it."} and caption["text/markdown"] == "*Drag it.*"
    assert figure["text/html"] == padded.page() and "text/html" not in widget and not none
    with pytest.raises(ValueError, match="must start with 'fig-'"):
        publish.play(padded, "Drag it.", still="tab-x")


# The parts in JavaScript, without a figure


@pytest.fixture(scope="module")
def tab(chromium: None) -> Iterator[lab.Page]:
    """A tab of headless Chromium that collects what the browser complains of."""
    with lab.browser(1000, 900, offline=True) as opened:
        opened.complaints = []
        opened.on("console", lambda message: opened.complaints.append(message.text))
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        yield opened
        assert opened.complaints == []


@contextlib.contextmanager
def another(tab: lab.Page, **options) -> Iterator[lab.Page]:
    """A tab with other options in the same browser."""
    opened = tab.context.browser.new_page(**options)
    yield opened
    opened.close()


def test_the_browser_decodes_as_torch_does(tab: lab.Page, generator: nn.Module, tmp_path: Path) -> None:
    for network in (generator, varied(MLPGenerator(DIM))):
        z = torch.randn(100, DIM)
        weights, file = decoder.Weights(network, z), tmp_path / "decoder.html"
        script = Path(decoder.__file__).with_suffix(".js").read_text(encoding="utf-8")
        file.write_text(f"{weights.element}<script>{script}</script>", encoding="utf-8")
        tab.goto(file.as_uri())
        decode = "([name, codes]) => codes.map(code => [...generator(name)(code)])"
        images = torch.tensor(tab.evaluate(decode, [weights.name, z.tolist()]))
        assert (images - network(z).flatten(1)).abs().max() < 0.01


def test_energies_in_the_browser_are_those_of_helpers_paths(tab: lab.Page, bent: Bend, tmp_path: Path) -> None:
    weights, file = decoder.Weights(bent.generator, bent.codes), tmp_path / "bend.html"
    file.write_text(f"<meta charset=utf-8>{weights.element}<script>{bent.script()}</script>", encoding="utf-8")
    tab.goto(file.as_uri())
    middles = torch.rand(5, 2, generator=torch.Generator().manual_seed(4)) * torch.tensor([1.0, 0.6])
    requests = [asking(path, pair=pair) for path in KNOWN for pair in range(PAIRS)]
    requests += [asking(middle=(x, y - 0.3), fine=fine) for x, y in middles.tolist() for fine in (True, False)]
    find = """([content, name, requests]) => {
        const answer = bendAnswers(content, generator(name));
        return requests.map(request => ({...answer(request), images: [...answer(request).images]}));
    }"""
    found = tab.evaluate(find, [bent.content, weights.name, requests])
    for request, answer in zip(requests, found, strict=True):
        expected = bent.answer_to(request)
        for key in ("energy", "rho", "length", "mean", "largest"):
            assert answer[key] == pytest.approx(expected[key], rel=0.01), (request, key)
        away = np.array(answer["images"]) - np.frombuffer(expected["images"], np.uint8)
        assert np.abs(away).mean() < 2, "of 255; where the path is a little elsewhere"


# The figures


def written(folder: Path, *figures: play.Play) -> str:
    """A page that scrolls, with the figures below its first screen; its address."""
    parts = [f"<figure>{figure.page()}<figcaption>A caption.</figcaption></figure>" for figure in figures]
    far = '<div style="height: 1200px">far</div>'
    head = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    file = folder / f"{len(figures)}.html"
    file.write_text(play.weights_once(f"{head}<title>x</title>{far}{''.join(parts)}{far}"), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def address(padded: Pad, bent: Bend, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("both"), padded, bent)


def read_out(page: lab.Page, path: str) -> list[str]:
    """What the table says of a path."""
    return page.locator(f'tr[data-path="{path}"] td').all_text_contents()


def figure(page: lab.Page, address: str, number: int) -> lab.Locator:
    """One of the figures of a page, scrolled to, when it is complete and rests."""
    page.goto(address)
    found = page.locator(".play").nth(number)
    found.scroll_into_view_if_needed()
    if found.locator("table").count():
        wait_for(lambda: all(read_out(page, "minimiser")), "the minimiser's numbers", 20)
        wait_for(lambda: found.locator(".said").text_content(), "a path that rests", 20)
    return found


def drag(page: lab.Page, handle: lab.Locator, right: float, down: float) -> None:
    """Press the mouse on a handle, move it by so many pixels in five steps, and let go."""
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=5)
    page.mouse.up()


def texts_of(answer: dict) -> list[str]:
    return [f"{answer['energy']:,.0f}", *(f"{answer[key]:.2f}" for key in ("rho", "length", "mean", "largest"))]


def close(texts: list[str], answer: dict) -> bool:
    """Whether a row of the table has these measures, within 1% and a digit."""
    numbers = [float(text.replace(",", "")) for text in texts]
    return numbers == pytest.approx([float(text.replace(",", "")) for text in texts_of(answer)], rel=0.01, abs=0.011)


def ink_of(canvas: lab.Locator) -> np.ndarray:
    """The first 28 × 28 pixels that a canvas holds, from 0, which is paper."""
    _, _, code = canvas.evaluate("canvas => canvas.toDataURL()").partition(",")
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("L"), dtype=float)
    return 255 - grey[:28, :28]


def test_weights_stand_once_in_a_page_and_figures_work_alone(
    address: str, tab: lab.Page, padded: Pad, bent: Bend, tmp_path: Path
) -> None:
    pages = [Path(address.removeprefix("file://")).read_text(encoding="utf-8"), padded.page(), bent.page()]
    assert [page.count(HELD) for page in pages] == [1, 1, 1]
    for part, alone in enumerate((padded, bent)):
        found = figure(tab, written(tmp_path, alone), 0)
        wait_for(lambda part=part, found=found: ink_of(found.locator("canvas").nth(1 + part)).any(), "a picture", 20)


def test_a_known_path_has_the_numbers_and_images_of_torch(address: str, tab: lab.Page, bent: Bend) -> None:
    found = figure(tab, address, 1)
    rows = {}
    for path in KNOWN:
        assert close(read_out(tab, path), bent.answer_to(asking(path)))
        button = found.get_by_role("button", name=path)
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        rows[path] = np.stack([ink_of(canvas) for canvas in found.locator(".images canvas").all()])
        expected = np.frombuffer(bent.answer_to(asking(path))["images"], np.uint8).reshape(16, 28, 28)
        assert np.abs(rows[path][1:-1] - expected).max() <= 3
        assert ("projection" in found.locator("output").text_content()) == (path != "straight line")
    pair = bent.pairs[0]
    assert (rows["slerp"] != rows["minimiser"]).any()
    assert np.abs(rows["slerp"][0] - 127.5 * (pair.x_a.numpy()[0] + 1)).max() < 1e-3
    assert np.abs(rows["slerp"][-1] - 127.5 * (pair.x_b.numpy()[0] + 1)).max() < 1e-3


def test_the_middle_is_dragged_by_mouse_and_moved_by_keys(address: str, tab: lab.Page, bent: Bend) -> None:
    found = figure(tab, address, 1)
    handle, field = found.get_by_role("slider"), found.locator(".field").bounding_box()
    assert "nearly the straight line" in found.locator("output").text_content()
    found.get_by_role("button", name="slerp").click()
    before = read_out(tab, "your path")
    drag(tab, handle, 0.1 * field["width"] / 1.2, -0.2 * field["width"] / 1.2)
    assert found.get_by_role("button", name="your path").get_attribute("aria-pressed") == "true"
    at = re.match(r"(\S+) along, (\S+) aside", handle.get_attribute("aria-valuetext")).groups()
    assert [float(value) for value in at] == pytest.approx([0.6, 0.2], abs=0.011)
    wait_for(lambda: close(read_out(tab, "your path"), bent.answer_to(asking(middle=(0.6, 0.2)))), "its numbers", 20)
    assert read_out(tab, "your path") != before
    scrolled = tab.evaluate("scrollY")
    handle.focus()
    for key in ["ArrowDown"] * 3 + ["Shift+ArrowLeft"]:
        tab.keyboard.press(key)
    step = 1.2 / 120
    middle = 0.6 - 5 * step, 0.2 - 3 * step
    wait_for(lambda: close(read_out(tab, "your path"), bent.answer_to(asking(middle=middle))), "its numbers", 20)
    assert tab.evaluate("scrollY") == scrolled
    wait_for(lambda: found.locator(".said").text_content() == found.locator("output").text_content(), "the words", 20)
    rho = bent.answer_to(asking(middle=middle))["rho"], bent.answer_to(asking("straight line"))["rho"]
    word = "is cheaper than" if rho[0] < rho[1] else "costs more than"
    assert word in found.locator("output").text_content()


def test_the_ring_jumps_to_where_the_mouse_is_pressed_and_keys_move_it_on(address: str, tab: lab.Page) -> None:
    found = figure(tab, address, 1)
    handle, field = found.get_by_role("slider"), found.locator(".field").bounding_box()
    tab.mouse.move(field["x"] + 0.7 / 1.2 * field["width"], field["y"] + 0.25 * field["height"])
    tab.mouse.down()
    tab.mouse.up()
    tab.keyboard.press("ArrowRight")
    at = re.match(r"(\S+) along, (\S+) aside", handle.get_attribute("aria-valuetext")).groups()
    assert [float(value) for value in at] == pytest.approx([0.61, 0.15], abs=0.011)


def test_another_pair_of_digits_is_chosen_by_the_menu(address: str, tab: lab.Page, bent: Bend) -> None:
    found = figure(tab, address, 1)
    first = found.locator("polyline").nth(1).get_attribute("points")
    found.get_by_role("combobox").select_option(label="3 → 4")
    for path in KNOWN:
        expected = bent.answer_to(asking(path, pair=1))
        wait_for(lambda path=path, expected=expected: close(read_out(tab, path), expected), f"numbers of {path}", 20)
    assert found.locator("polyline").nth(1).get_attribute("points") != first
    assert found.get_by_role("img").get_attribute("aria-label") == "images along your path, from 3 → 4"


def test_the_sample_changes_on_the_pad(address: str, tab: lab.Page, padded: Pad) -> None:
    found = figure(tab, address, 0)
    handle, large, field = found.get_by_role("slider"), found.locator(".sample"), found.locator(".field")

    def shows(sample: int, x: float, y: float) -> bool:
        answer = padded.answer_to({"sample": sample, "places": [[x, y]]})
        return np.abs(ink_of(large) - np.frombuffer(answer["images"], np.uint8).reshape(28, 28)).max() <= 3

    wait_for(lambda: shows(0, 0.0, 0.0), "the first sample", 20)
    wait_for(lambda: ink_of(field.locator("canvas")).any(), "the pictures on the pad", 20)
    corner = padded.answer_to({"sample": 0, "places": [[LIMIT * (1 / MAP - 1), LIMIT * (1 - 1 / MAP)]]})["images"]
    assert np.abs(ink_of(field.locator("canvas")) - np.frombuffer(corner, np.uint8).reshape(28, 28)).max() <= 3
    side = field.bounding_box()["width"]
    drag(tab, handle, side / 4, side / 4)
    wait_for(lambda: shows(0, LIMIT / 2, -LIMIT / 2), "the sample under the pointer", 20)
    for _ in range(2):
        tab.keyboard.press("Shift+ArrowUp")  # the pointer has left the focus there
    wait_for(lambda: shows(0, LIMIT / 2, 0.0), "the sample after two keys", 20)
    found.get_by_role("button", name="new sample").click()
    wait_for(lambda: shows(1, 0.0, 0.0), "the next sample", 20)
    assert found.locator("output").text_content().startswith("sample 2 of 3")


def test_a_finger_drags_the_handle_and_scrolls_the_page_elsewhere(address: str, tab: lab.Page, bent: Bend) -> None:
    with another(tab, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True) as page:
        found = figure(page, address, 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        handle = found.get_by_role("slider")
        touch = "element => getComputedStyle(element).touchAction"
        assert [handle.evaluate(touch), found.locator(".field").evaluate(touch)] == ["none", "auto"]
        for target in [handle, *found.get_by_role("button").all(), found.get_by_role("combobox")]:
            assert min(target.bounding_box()["height"], target.bounding_box()["width"]) >= 44
        finger, box = page.context.new_cdp_session(page), handle.bounding_box()
        scrolled = page.evaluate("scrollY")
        for kind, up in (("touchStart", 0), ("touchMove", 20), ("touchMove", 40)):
            point = {"x": box["x"] + 22, "y": box["y"] + 22 - up}
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        aside = 40 / found.locator(".field svg").bounding_box()["width"] * 1.2
        wait_for(
            lambda: close(read_out(page, "your path"), bent.answer_to(asking(middle=(0.5, aside)))), "its numbers", 20
        )
        assert page.evaluate("scrollY") == scrolled


def test_paper_shows_the_figure_as_it_stands_and_without_a_script_there_is_none(address: str, tab: lab.Page) -> None:
    found = figure(tab, address, 1)
    tab.emulate_media(media="print")
    assert tab.locator("figcaption").first.is_visible() and found.locator(".images").is_visible()
    assert not found.get_by_role("combobox").is_visible() and not found.get_by_text("Drag the ring to").is_visible()
    tab.emulate_media(media="screen")
    with another(tab, java_script_enabled=False) as page:
        page.goto(address)
        assert not page.locator("figcaption").first.is_visible() and not page.locator(".play").first.is_visible()


def test_the_report_has_them_on_its_page_alone(workshop: Workshop, padded: Pad, bent: Bend) -> None:
    skip_without("pandoc")
    make, still = nbformat.v4, {"kind": "figure", "label": "fig-x", "caption": "It stands.", "width": 1.0}
    whole = workshop.merged("")
    for shown, fact in ((padded, {}), (bent, {"still": "fig-x"})):  # noqa: F402
        metadata = {"report": {"kind": "play", "caption": "Drag *it* on [figure](#fig-x)."} | fact}
        output = make.new_output("display_data", {"text/html": shown.page()}, metadata=metadata)
        whole.cells.insert(1, make.new_code_cell("", outputs=[output]))
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABc3UBGAAAAABJRU5ErkJggg=="
    data = {"image/png": pixel, "application/pdf": ""}
    output = make.new_output("display_data", data, metadata={"report": still})
    whole.cells.insert(1, make.new_code_cell("", outputs=[output]))
    merge._join_films(whole.cells)
    page = export.write_page(whole, workshop.folder).read_text(encoding="utf-8")
    assert page.count(HELD) == 1 and page.count('class="play" hidden') == 2
    assert page.count("Drag <em>it</em> on") == 2
    tex = export.write_latex(whole, workshop.folder).read_text(encoding="utf-8")
    assert "Drag" not in tex and "Animated in HTML" in tex


def test_contents_cannot_end_the_script_that_holds_them(generator: nn.Module) -> None:
    ends, images = ends_of(generator)
    one = Bend(
        generator, tuple(z[:1] for z in ends), tuple(x[:1] for x in images), torch.stack(ends, 1)[:1], ["</script>"]
    )
    (content,) = re.findall(r'hidden><script type="application/json">(.*?)</script>', one.page())
    assert json.loads(content)["pairs"][0]["name"] == "</script>"
