"""Let torchvision be imported beside a torch that it was not compiled for.

Such a torchvision cannot load its compiled operators, and fails where it describes two
of them to torch.  open_clip needs none.  So the two are declared here, in every process
that has this folder in its PYTHONPATH, when torchvision is imported.
"""

import importlib.abc
import sys

SCHEMA = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"


class DeclareOperators(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            from torch import library

            for operator in ("nms", "qnms"):
                library.define(f"torchvision::{operator}", SCHEMA)


sys.meta_path.insert(0, DeclareOperators())
