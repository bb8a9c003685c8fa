"""Parts of statements that several tables share."""

from typing import Final

# A row that is not there, or not in the version that was locked, would be a defect; dividing by zero takes the
# whole batch back before it can be committed, without a round trip for looking.
_EXACTLY: Final = "SELECT 1 / (CASE WHEN count(*) = ${n} THEN 1 ELSE 0 END) FROM done"


def exactly(n: int) -> str:
    """Return the end of an update named `done`: it fails unless parameter `n` rows were updated."""
    return _EXACTLY.format(n=n)


def parameters(first: int, count: int) -> str:
    """Return `count` placeholders from `$first` on."""
    return ", ".join(f"${n}" for n in range(first, first + count))
