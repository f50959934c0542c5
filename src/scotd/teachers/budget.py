"""A limit in dollars: what was spent, what the requests under way may cost at most, and whether another one fits.

    budget = Budget(most=Decimal(50), price=price, spent=price.of(...))
    if budget.take(ask): ...                # it may be sent: what it can cost at most is set aside
    budget.settle(ask, outcome.usage)       # what it did cost is spent, the rest is free again

An ask costs at most its prompt once a request, counted as bytes (no token is shorter), and `max_tokens` for each chain.
What a server did not count, or sent and was lost, is held to have cost that much.
"""

from decimal import Decimal

from scotd.teachers import Ask
from scotd.teachers.prices import Price
from scotd.types import Prompt, SamplingParams, Usage


class Budget:
    """US dollars. Not for several threads at once."""

    def __init__(self, *, most: Decimal, price: Price, spent: Decimal) -> None:
        self.most, self.price, self.spent = most, price, spent
        self._aside: dict[Ask, Decimal] = {}

    def worst(self, ask: Ask) -> Decimal:
        """What an ask can cost."""
        return self.greatest(ask.prompt, ask.sampling, len(ask.indices))

    def greatest(self, prompt: Prompt, sampling: SamplingParams, n: int) -> Decimal:
        """What `n` chains can cost: each in a request of its own, as long as may be."""
        return self.price.of(prompt_tokens=n * len(prompt.words.encode()), completion_tokens=n * sampling.max_tokens)

    def take(self, ask: Ask) -> bool:
        """Set aside what an ask can cost; False where that might cross the limit."""
        worst = self.worst(ask)
        if self.spent + sum(self._aside.values()) + worst > self.most:
            return False
        self._aside[ask] = worst
        return True

    def settle(self, ask: Ask, usage: Usage) -> None:
        """What came of an ask is known."""
        worst = self._aside.pop(ask)
        self.spent += self.price.of(
            prompt_tokens=usage.prompt_tokens or 0, completion_tokens=usage.completion_tokens or 0
        )
        self.spent += usage.unsaid * worst

    def said(self) -> str:
        """The state of it in words."""
        return f"${self.spent:,.2f} of teacher.max_cost ${self.most:,.2f} are spent"
