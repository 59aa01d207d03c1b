"""Made-to-measure models: a requirement in, a model that provably meets it out."""

__version__ = "0.1.0"
