"""The page that compares two images."""

from __future__ import annotations

from gpuspawner.controller.views.comparison import ComparisonPage, view_comparison

from .page import Visit


def load_comparison(visit: Visit) -> ComparisonPage:
    """Its model. Raises: NotFound."""
    images = visit.services.images
    return view_comparison(images.find(visit.parts["image"]), images.all(), visit.query, visit.links)
