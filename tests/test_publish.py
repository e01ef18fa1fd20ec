"""Tables print numbers with the digits they deserve; claims say where they fail; figures and sources can be shown."""

import numpy as np
import pandas as pd
import pytest

from helpers.show import figures, publish, references
from helpers.show.references import Place


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    """What was displayed: mime bundles, each with the report's metadata under "facts"."""
    outputs = []

    def display(data: dict, metadata: dict | None = None) -> None:
        outputs.append(data | {"facts": (metadata or {}).get("report")})

    monkeypatch.setattr(publish, "publish_display_data", display)
    return outputs


@pytest.mark.parametrize(
    ("formats", "errors", "row"),
    [
        (".3g", None, "| a | 1.23 | 1000 | **x\\|y** |"),
        ({"first": ".1f"}, None, "| a | 1.2 | 1000 | **x\\|y** |"),
        ({"a": "+.0%"}, None, "| a | +123% | +100000% | **x\\|y** |"),
        ("auto", [0.1, 20, np.nan], "| a | 1.23 ± 0.10 | 1000 ± 20 | **x\\|y** |"),
        (".3g ± .1g", [0.123, np.nan, np.nan], "| a | 1.23 ± 0.1 | 1000 | **x\\|y** |"),
    ],
)
def test_a_table_formats_numbers_and_keeps_strings(shown: list, formats, errors, row: str) -> None:
    frame = pd.DataFrame([[1.234, 1000.0, "**x|y**"], [np.nan] * 3], index=["a", ""], columns=["first", "2", "3"])
    publish.table(frame, "tab-x", "A caption.", formats, errors and pd.DataFrame([errors, [np.nan] * 3]))
    assert shown[0]["text/plain"] == f"|  | first | 2 | 3 |\n|:--|--:|--:|--:|\n{row}\n|  |  |  |  |"
    assert shown[0]["text/markdown"].startswith('<a id="tab-x"></a>*A caption.*\n\n')


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 1.2, 1.4], "1.20 ± 0.20"), ([100.0, 140.0], "120 ± 28"), ([0.5], "0.5"), ([3.0, 3.0], "3")],
)
def test_a_deviation_is_printed_to_its_second_digit(values: list[float], expected: str) -> None:
    assert publish.mean_std(values) == expected


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (1.0, np.inf, "1 ± ∞"),
        (1.0, np.nan, "1"),
        (1.234, 0.0996, "1.23 ± 0.10"),
        (1.234, 0.0994, "1.234 ± 0.099"),
        (45678.0, 1234.0, "45700 ± 1200"),
        (45678.0, 996.0, "45700 ± 1000"),
        (12.3, 9.96, "12 ± 10"),
    ],
)
def test_mean_and_error_have_the_digits_of_the_error(mean: float, error: float, expected: str) -> None:
    assert publish.mean_error(mean, error) == expected


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [(1024, ".3g", "1024"), (123456.7, ".3g", "123457"), (1e6, ".3g", "1e+06"), (1e-5, ".3g", "1e-05")],
)  # fmt: skip
def test_numbers_that_people_read_have_no_exponent(value: float, form: str, expected: str) -> None:
    assert publish._cell(value, form, np.nan) == expected


def test_a_claim_that_is_not_true_is_struck_through_in_a_box_with_its_condition(shown: list) -> None:
    publish.claim("One is less than two.", 1 < 2)
    publish.claim("Two is $1$.\n\n- a list", condition=2 < 1 and bool("é"))
    true, refuted, marked = shown
    assert true["text/markdown"] == "One is less than two." == true["facts"]["text"]
    assert refuted["facts"]["condition"] == "2 < 1 and bool('é')" and refuted["text/markdown"] == ""
    assert refuted["facts"]["kind"] == "refuted" and refuted["facts"]["sentence"].startswith("Two is $1$.")
    assert marked["facts"]["text"] == "**⚠ Not confirmed in this run:** ~~Two is $1$.~~\n\n- a list"
    boxed = f"{marked['facts']['text']}\n\nThis is false: `2 < 1 and bool('é')`"
    assert marked["text/markdown"] == publish.BOX.format(boxed)
    assert publish.holds("Yes.", True) == "Yes." and len(shown) == 3


def test_a_condition_is_shown_below_the_text_that_contains_its_sentence_and_no_other(shown: list) -> None:
    wrapped = publish.holds("The loss is lowest\n    at epoch 5.", False)
    publish.holds("Another.", 1 > 2)
    publish.answer("RD-a", f"In this run\n        it is so. {wrapped} The rest.", "Yes.")
    said = shown[-1]["text/markdown"]
    assert "This is false: `False`" in said and "1 > 2" not in said and "\n> " not in said
    publish.figure(figures.panels()[0], "fig-x", f"It rises. {wrapped}")
    assert shown[-1]["text/markdown"].startswith("<div") and "This is false: `False`" in shown[-1]["text/markdown"]


def test_an_answer_that_is_not_true_is_not_printed_as_true_on_the_first_page(shown: list) -> None:
    publish.answer("RD-a", publish.holds("Yes.", False), "Yes, it is.")
    assert shown[-1]["facts"]["brief"] == "**⚠ Not confirmed in this run:** ~~Yes, it is.~~"
    publish.answer("RD-a", publish.holds("Yes.", True), "Yes, it is.")
    assert shown[-1]["facts"]["brief"] == "Yes, it is."


def test_a_formula_in_an_answer_may_be_broken_over_lines(shown: list) -> None:
    publish.answer("RD-a", "First $a\n - b$.\n\nSecond.", "Brief.")
    assert shown[-1]["text/markdown"].split("\n") == ["> **Answer to RD-a.** First $a  - b$.", "> ", "> Second."]


@pytest.mark.parametrize("value", [-0.1, 0.7, np.nan])
def test_only_an_exact_check_stops_the_notebook_and_any_other_is_marked(shown: list, value: float) -> None:
    publish.check_interval("a half", 0.5, 0, 0.634)
    assert shown[0] == {
        "text/plain": "✓ a half: computed 0.5, in [0, 0.634]",
        "facts": {"kind": "check", "name": "a half", "computed": 0.5, "expected": [0, 0.634], "tolerance": None,
                  "passed": True},
    }  # fmt: skip
    publish.check_interval("a *half*", value, 0, 0.634)
    publish.check("a half", value, 0.5, 0.1, exact=False)
    for data in shown[1:]:
        assert not data["facts"]["passed"] and data["facts"]["text"].startswith("**⚠ Not confirmed in this run:** ~~a ")
        assert data["text/markdown"] == publish.BOX.format(data["facts"]["text"])
    assert r"\*half\*" in shown[1]["text/markdown"]
    with pytest.raises(AssertionError, match="check failed: a half: computed"):
        publish.check_interval("a half", value, 0, 0.634, exact=True)
    with pytest.raises(AssertionError, match="check failed: a half: computed"):
        publish.check("a half", value, 0.5, 0.1)


def test_a_figure_may_say_what_is_seen(shown: list, monkeypatch) -> None:
    monkeypatch.setitem(publish.ALTERNATIVES, "fig-x", "A line from left to right.")
    publish.figure(figures.panels()[0], "fig-x", "It rises.")
    publish.figure(figures.panels()[0], "fig-y", "It falls.")
    said, silent = [data["facts"] for data in shown if "image/png" in data]
    assert said["alt"] == "A line from left to right." and "alt" not in silent


def test_a_figure_survives_plain_tools_between_its_anchor_and_its_caption(shown: list) -> None:
    publish.figure(figures.panels()[0], "fig-x", "A caption.")
    anchor, figure, caption = shown
    assert {"image/png", "application/pdf"} <= figure.keys() and anchor["text/markdown"] == '<a id="fig-x"></a>'
    assert caption["text/markdown"] == "*A caption.*"


@pytest.fixture
def numbers(monkeypatch) -> None:
    """Stored numbers, and a notebook that runs in JupyterLab."""
    places = {
        "fig-x": Place("3", "01_a.ipynb"),
        "tab-x": Place("2", "01_a.ipynb"),
        "eq:x": Place("4", "02_b.ipynb", "ab"),
    }
    monkeypatch.setattr(references, "stored", lambda: places)
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/01_a.ipynb")


def test_jupyterlab_shows_the_numbers_of_the_report_which_gets_none(shown: list, numbers: None) -> None:
    publish.figure(figures.panels()[0], "fig-x", "As [equation](#eq:x).")
    publish.table(pd.DataFrame({"a": [1.0]}), "tab-x", "See [figure](#fig-x).")
    publish.say("The [figure](#fig-x), a [table](#tab-new).")
    publish.answer("RD-a", "By $\\eqref{eq:x}$.\n\nMore.", "Yes.")
    seen = [data["text/markdown"] for data in shown if "text/markdown" in data]
    assert seen[1] == '**Figure 3.** *As [equation (4)](02_b.ipynb#cell-id=ab "eq:x").*'
    assert seen[2].startswith('<a id="tab-x"></a>**Table 2.** *See [figure 3](#fig-x).*\n\n| ')
    assert seen[3] == "[Figure 3](#fig-x), a [table](#tab-new)."
    assert seen[4] == '> **Answer to RD-a.** By [(4)](02_b.ipynb#cell-id=ab "eq:x").\n> \n> More.'
    facts = [data["facts"] for data in shown if data["facts"]]
    assert [fact.get("caption", fact.get("text")) for fact in facts] == [
        "As [equation](#eq:x).", "See [figure](#fig-x).", "The [figure](#fig-x), a [table](#tab-new).",
        "By $\\eqref{eq:x}$.\n\nMore.",
    ]  # fmt: skip


def test_a_shown_source_keeps_the_first_line_of_each_docstring() -> None:
    code = 'class A:\n    """One.\n\n    More.\n    """\n\n    def f(self):\n        return """no\n        docstring"""'
    assert publish.brief(code) == code.replace("\n\n    More.\n    ", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "It is lowest after epoch\n    55. The two losses differ.",
            "It is lowest after epoch\n55\\. The two losses differ.",
        ),
        ("Two steps:\n\n1. one\n2. two", "Two steps:\n\n1. one\n2. two"),
        ("a\n3.5 and\n7) b", "a\n3.5 and\n7\\) b"),
    ],
)
def test_a_number_at_the_start_of_a_wrapped_line_begins_no_list(shown: list, text: str, expected: str) -> None:
    publish.say(text)
    assert shown[-1]["text/markdown"] == expected
