"""What the tests of the kernel and of every plugin share."""

pytest_plugins = ["tests.services.fixtures"]
