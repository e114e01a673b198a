"""The library, imported in one place and without what it brings along.

Its older half, which MilvusClient does not use, takes tables of pandas and imports it on the way. Pandas is left out of
the environment, because pyarrow imports it in every process that makes an array as soon as it is there: 50 MB and 1.5 s
for each replica and each child of a build, on whatever engine. So a stand-in has its name while the library is
imported; where pandas is installed after all, the library gets the real one.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

# Asked for by columns without a schema, and by lists in templates of filters, neither of which we send.
FUNCTIONS = ("infer_dtype", "is_array_like", "is_float", "is_list_like", "is_scalar")


def _not_here(*_: object) -> NoReturn:
    raise NotImplementedError("pandas is not installed")


@contextmanager
def _stand_in_for_pandas() -> Iterator[None]:
    """What the library takes from pandas when it is imported: a class and functions, of no use."""
    if find_spec("pandas") is not None:
        yield
        return
    pandas, api, types = (ModuleType(name) for name in ("pandas", "pandas.api", "pandas.api.types"))
    # Should pyarrow look in this moment, it finds one that is too old for it.
    pandas.__dict__.update(__version__="0", DataFrame=type("DataFrame", (), {}), api=api)
    api.__dict__.update(types=types)
    types.__dict__.update(dict.fromkeys(FUNCTIONS, _not_here))
    standing_in = {module.__name__: module for module in (pandas, api, types)}
    sys.modules.update(standing_in)
    try:
        yield
    finally:
        for name in standing_in:
            del sys.modules[name]


# Else the library takes any file `.env` in this folder or one above it into this process's environment.
os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")

with _stand_in_for_pandas():
    from pymilvus import DataType, MilvusClient
    from pymilvus.exceptions import MilvusException

# It writes every error to standard error, with its traceback, and then raises it; whoever handles it logs it.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

__all__ = ["DataType", "MilvusClient", "MilvusException"]
