"""The documentation site: pages gathered from the repository, made from the code where they would go stale, for mkdocs.yml."""
