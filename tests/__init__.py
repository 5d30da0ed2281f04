"""The tests, a package of its own name: some libraries install one that is called the same."""
