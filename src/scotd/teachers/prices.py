"""What a teacher's tokens cost: by the user's own prices, else by a kept list (genai-prices), else unknown.

    price = price_of(config.teacher)
    price is not None and price.of(prompt_tokens=600, completion_tokens=900)    # US dollars

`pip install 'scotd[prices]'` brings the list; it is data of a package, nothing is asked over the network.
"""

from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version

from scotd.config import TeacherConfig

MILLION = 1_000_000
CHARACTERS_A_TOKEN = 4  # of English in a large vocabulary, roughly
_PROBE = 1_000  # tokens whose price is asked for: lists may charge more for prompts of another order of magnitude


@dataclass(frozen=True, kw_only=True)
class Price:
    """US dollars a million tokens, without discounts for cached prompts; `source` says who says so."""

    prompt: Decimal
    completion: Decimal
    source: str

    def of(self, *, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """Dollars for so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / MILLION


def price_of(config: TeacherConfig) -> Price | None:
    """The price of a teacher's tokens; zero for a model that runs here, None where it is unknown."""
    if config.kind != "openai":
        return Price(prompt=Decimal(0), completion=Decimal(0), source="it runs on this machine")
    own = config.prices
    if own is not None:
        return Price(prompt=Decimal(str(own.prompt)), completion=Decimal(str(own.completion)), source="teacher.prices")
    return _listed(config)


def _listed(config: TeacherConfig) -> Price | None:
    try:
        from genai_prices import Usage, calc_price
    except ModuleNotFoundError:
        return None
    try:
        found = calc_price(
            Usage(input_tokens=_PROBE, output_tokens=_PROBE), config.model, provider_api_url=config.base_urls[0]
        )
    except LookupError:
        return None
    scale = MILLION // _PROBE
    return Price(
        prompt=found.input_price * scale,
        completion=found.output_price * scale,
        source=f"genai-prices {version('genai-prices')}: {found.provider.id}, {found.model.id}",
    )
