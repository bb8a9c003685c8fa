"""Content security policies: nothing runs or loads but what is named here."""

from collections.abc import Sequence
from dataclasses import dataclass, field

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class ContentPolicy:
    """What a page may load besides our own files: the pay page names the origin of its provider's widget."""

    script: Sequence[str] = field(default=())
    style: Sequence[str] = field(default=())
    frame: Sequence[str] = field(default=())
    connect: Sequence[str] = field(default=())
    img: Sequence[str] = field(default=())
    form: Sequence[str] = field(default=())

    def header(self) -> str:
        """Return the value of Content-Security-Policy."""
        parts = {
            "default-src": ["'none'"],
            "script-src": ["'self'", *self.script],
            "style-src": ["'self'", *self.style],
            "img-src": ["'self'", "data:", *self.img],
            "font-src": ["'self'"],
            "connect-src": ["'self'", *self.connect],
            "frame-src": list(self.frame) or ["'none'"],
            "form-action": ["'self'", *self.form],
            "manifest-src": ["'self'"],
            "frame-ancestors": ["'none'"],
            "base-uri": ["'none'"],
        }
        return "; ".join(f"{name} {' '.join(values)}" for name, values in parts.items())


# Swagger UI and ReDoc write inline styles, and ReDoc searches in a worker made of a blob.
DOCS_POLICY = ContentPolicy(style=("'unsafe-inline'",)).header() + "; worker-src 'self' blob:"
