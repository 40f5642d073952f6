"""The suite of the SDK before 10: another client stack (grpc-core), another encoder, the same server.

It asks for what every user of it needs. The server's rules and settings are the newer SDK's suite,
one directory up, from which the helpers come; `sdk.py` here stands in for the one there.
"""

import pytest

pytest.register_assert_rewrite("records", "vecload")

pytest_plugins = ["counting", "suite_fixtures"]
