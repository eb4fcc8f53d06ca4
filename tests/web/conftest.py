"""What the tests of the JavaScript package share."""

from js_models import run

__all__ = ["run"]
