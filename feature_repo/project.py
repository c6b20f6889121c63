"""The name of our project in Feast, which every key in the online store holds."""

from __future__ import annotations

from typing import Final

PROJECT: Final = "feature_service"
