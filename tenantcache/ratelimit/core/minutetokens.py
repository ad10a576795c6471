"""The tokens of a minute in this process: held, below the low-water mark, and spent."""

from __future__ import annotations

from tenantcache.ratelimit.core.windows import UNLIMITED


class MinuteTokens:
    """`limit` is None if there is none."""

    __slots__ = ("held", "limit", "low", "spent")

    def __init__(self, limit: int | None) -> None:
        self.limit: int | None = limit
        self._hold(0)

    def _hold(self, tokens: int) -> None:
        """Hold so many, of which none are spent."""
        self.spent: int = 0
        self.held: int = UNLIMITED if self.limit is None else tokens
        """Tokens that may be spent; `UNLIMITED` if there is no limit."""
        self.low: int = 0
        """The low-water mark: tokens on top of `held`, handed out when those run out, which starts a refill."""

    @property
    def unspent(self) -> int:
        return self.held + self.low

    @property
    def _held_or_spent(self) -> int:
        """Tokens of this minute; 0 without a limit."""
        return 0 if self.limit is None else self.spent + self.unspent

    def spend(self, tokens: int) -> None:
        self.held -= tokens
        self.spent += tokens

    def refund(self, tokens: int) -> None:
        """Undo an admission of this minute; never more than was spent here."""
        self.spend(-min(tokens, self.spent))

    def pass_low_water_mark(self) -> None:
        self.held, self.low = self.unspent, 0
