"""`make notebooks` opens copies: a tracked notebook is never changed, and a changed copy never overwritten."""

import copies
import nbformat
from conftest import Workshop


def test_copies_are_made_once_and_kept_with_what_was_changed(workshop: Workshop) -> None:
    original, other = workshop.write("01_one", "1 + 1"), workshop.write("02_two", "2")
    target = workshop.folder / "my_notebooks"
    assert copies.copy(workshop.notebooks, target) == []
    assert sorted(path.name for path in target.iterdir()) == [original.name, other.name]
    executed = nbformat.read(target / original.name, as_version=4)
    executed.cells[-1].outputs = [nbformat.v4.new_output("stream", text="2")]
    executed.cells[-1].execution_count = 1
    nbformat.write(executed, target / original.name)
    content = (target / original.name).read_bytes()
    assert copies.copy(workshop.notebooks, target) == [], "outputs are no difference"
    workshop.write("01_one", "1 + 2")
    (target / other.name).write_text("no notebook")
    first, second = copies.copy(workshop.notebooks, target)
    assert "01_one.ipynb" in first and "was kept" in first and "02_two.ipynb" in second
    assert (target / original.name).read_bytes() == content and (target / other.name).read_text() == "no notebook"
