"""The standard tests of `langchain-tests`, for our doubles."""

from __future__ import annotations

from tests.support.standard import (
    benchmark as benchmark,
)
from tests.support.standard import (
    pytest_pycollect_makeitem as pytest_pycollect_makeitem,
)
from tests.support.standard import (
    vcr as vcr,
)
