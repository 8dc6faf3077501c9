"""How fast the package is, beside what a user would pick instead: ``make bench``."""
