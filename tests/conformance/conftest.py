"""The suite of the SDK that requirements.in names. `sdk_8` is that of an older one."""

pytest_plugins = ["suite_fixtures"]
