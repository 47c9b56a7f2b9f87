"""What the tests of the kernel and of every plugin share."""

from hypothesis import HealthCheck, settings

settings.register_profile("aats", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aats")  # how long an example takes on a busy machine proves nothing

pytest_plugins = ["tests.services.fixtures"]
