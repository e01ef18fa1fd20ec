"""Fonts for a notebook that plain nbconvert makes a PDF of: its own lack ✓ and β, and long lines of code are cut."""

from IPython import get_ipython
from IPython.display import publish_display_data

# raw LaTeX for pandoc, in an element that JupyterLab does not show
SETTINGS = r"""<div hidden>

```{=latex}
\fvset{fontsize=\fontsize{7}{8.5}\selectfont}
\IfFontExistsTF{DejaVu Sans Mono}{\newfontfamily\widemono{DejaVu Sans Mono}[NFSSFamily=widemono,Scale=0.9]%
  \renewcommand{\ttdefault}{widemono}}{}
\IfFontExistsTF{DejaVu Sans}{\newfontfamily\widesans{DejaVu Sans}[NFSSFamily=widesans,Scale=0.9,
  ItalicFont=DejaVu Sans,ItalicFeatures={FakeSlant=0.2}]\renewcommand{\rmdefault}{widesans}\normalfont}{}
```

</div>"""


def set_fonts() -> None:
    """Set the fonts of all that follows in the notebook; nothing happens outside of one."""
    if get_ipython() is not None:
        publish_display_data({"text/markdown": SETTINGS, "text/plain": ""})
