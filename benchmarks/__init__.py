"""Hestia measured against nginx, Caddy and Envoy: `benchmarks/run`. Standard library only."""
