"""When does low-dimensional structure pay? Layers, optimisers, engines and studies."""

__version__ = "0.1.0"
