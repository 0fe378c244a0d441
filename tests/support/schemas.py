"""JSON schemas of tools that many tests have values made for."""

from __future__ import annotations

from typing import Any, Final

BOOKING: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "seats": {"type": "integer"},
        "price": {"type": "number", "minimum": 0},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "phone": {"type": "string"},
        "order_id": {"type": "string"},
        "plate": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        "class": {"enum": ["economy", "business", "first"]},
        "window": {"type": "boolean"},
        "luggage": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 32}, "minItems": 2},
    },
    "required": ["seats", "price", "day", "at", "phone", "order_id", "plate", "class", "window", "luggage"],
}
"""The arguments of a tool, of one kind each."""
