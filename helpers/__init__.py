"""Code that the notebooks share: data, models and their training, inversion, paths, figures, and the report's parts."""

import warnings

# torch.func compiles some rules when it is first used: nothing that a reader of a notebook could change
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
