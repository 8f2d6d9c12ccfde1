"""Import Ray Serve without pandas. Every worker of the service's own Ray imports this module first.

Ray Serve imports pandas where it is installed, to encode answers that hold a data frame. Ours hold
none; without it a process of Ray Serve starts half a second earlier and is 35 MB smaller. Ray Serve
allows for pandas not being installed; other modules still find it afterwards.
"""

import sys

if "pandas" not in sys.modules:
    sys.modules["pandas"] = None  # type: ignore[assignment]  # `import pandas` raises ImportError
    try:
        import ray.serve  # noqa: F401
    finally:
        del sys.modules["pandas"]
