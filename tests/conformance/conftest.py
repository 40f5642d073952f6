"""The suite of the SDK that requirements.in names. `sdk_8` is that of an older one."""

import pytest

# Their assertions are counted and explained too.
pytest.register_assert_rewrite("records", "vecload")

pytest_plugins = ["counting", "suite_fixtures"]
