"""The testing kit: contract suites, fakes and strategies for those who write plugins."""
