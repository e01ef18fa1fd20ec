"""Code shared by the notebooks: data, models and their training, inversion, paths, figures, output for the report."""

import warnings

# torch.func gives this warning when it is first used; a reader of a notebook can do nothing about it
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
