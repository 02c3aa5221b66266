"""What all tests share: hypothesis finds the same examples every time, on a slow machine as well."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "phloem", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("phloem")
