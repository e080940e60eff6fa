"""From a line of a company file to Altman's score and a probability of default: pure functions, no I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

COLUMNS = (
    "symbol",
    "name",
    "sector",
    "period",
    "market_cap",
    "current_assets",
    "total_assets",
    "current_liabilities",
    "total_liabilities",
    "retained_earnings",
    "ebit",
    "sales",
)
MANUFACTURERS = frozenset(
    {"Automotive", "Chemicals", "Electronics", "Food and Beverage", "Industrial Machinery", "Pharmaceuticals"}
)
NON_MANUFACTURERS = frozenset({"Media", "Retail", "Software", "Telecommunications", "Transportation", "Utilities"})
# Altman left banks and insurers out of every version: their working capital and leverage mean something else.
NOT_SCORED = frozenset({"Banks", "Insurance"})


class RowErrorCode(StrEnum):
    """Why a row was not scored."""

    COLUMN_COUNT = "COLUMN_COUNT"
    HEADER_REPEATED = "HEADER_REPEATED"
    FIELD_MISSING = "FIELD_MISSING"
    NUMBER_INVALID = "NUMBER_INVALID"
    FIELD_OUT_OF_RANGE = "FIELD_OUT_OF_RANGE"
    PERIOD_INVALID = "PERIOD_INVALID"
    SECTOR_UNKNOWN = "SECTOR_UNKNOWN"
    SECTOR_NOT_SCORED = "SECTOR_NOT_SCORED"
    FIGURES_INCONSISTENT = "FIGURES_INCONSISTENT"


class RowError(Exception):
    """A row that cannot be scored; the message names the field and shows its value as it stands in the file."""

    def __init__(self, code: RowErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """One company as of one balance sheet, in USD millions; ebit and sales cover a whole year."""

    symbol: str
    name: str
    sector: str
    period: str
    market_cap: float
    current_assets: float
    total_assets: float
    current_liabilities: float
    total_liabilities: float
    retained_earnings: float
    ebit: float
    sales: float


class Zone(StrEnum):
    """Altman's three zones of discrimination."""

    SAFE = "safe"
    GREY = "grey"
    DISTRESS = "distress"


@dataclass(frozen=True, slots=True)
class Score:
    """Altman's score of one company: the variant used ("Z" or "Z''"), its zone, and a one-year default probability."""

    variant: str
    value: float
    zone: Zone
    default_probability: float


def parse_company(cells: Sequence[str]) -> Company:
    """Read the cells of one line, in the order of COLUMNS; figures for a quarter are brought to a year (times four).

    Raises RowError where a cell cannot be believed.
    """
    if tuple(cells) == COLUMNS:
        raise RowError(RowErrorCode.HEADER_REPEATED, "the header line is repeated among the rows")
    if len(cells) != len(COLUMNS):
        raise RowError(RowErrorCode.COLUMN_COUNT, f"{len(cells)} columns where {len(COLUMNS)} are expected")
    fields = dict(zip(COLUMNS, (cell.strip() for cell in cells), strict=True))
    for field, text in fields.items():
        if not text:
            raise RowError(RowErrorCode.FIELD_MISSING, f"{field} is missing")
    _check_sector(fields["sector"])
    periods_per_year = _periods_per_year(fields["period"])
    figures = {field: _number(fields, field) for field in _FIGURES}
    _check_figures(fields, figures)
    figures["ebit"] *= periods_per_year
    figures["sales"] *= periods_per_year
    return Company(
        symbol=fields["symbol"], name=fields["name"], sector=fields["sector"], period=fields["period"], **figures
    )


def score_company(company: Company) -> Score:
    """Score a manufacturer by Z (Altman 1968), anyone else by Z'' (Altman, Hartzell and Peck 1995)."""
    assets = company.total_assets
    liquidity = (company.current_assets - company.current_liabilities) / assets
    retained = company.retained_earnings / assets
    earning_power = company.ebit / assets
    if company.sector in MANUFACTURERS:
        market_leverage = company.market_cap / company.total_liabilities
        turnover = company.sales / assets
        value = 1.2 * liquidity + 1.4 * retained + 3.3 * earning_power + 0.6 * market_leverage + 0.999 * turnover
        return _score("Z", value, _Z)
    book_leverage = (assets - company.total_liabilities) / company.total_liabilities
    value = 6.56 * liquidity + 3.26 * retained + 6.72 * earning_power + 1.05 * book_leverage
    return _score("Z''", value, _Z_DOUBLE_PRIME)


class Anchor(NamedTuple):
    """A rating class: its typical score, and the share of its members that defaulted within a year."""

    rating: str
    value: float
    probability: float


def default_probability(value: float, anchors: Sequence[Anchor]) -> float:
    """Interpolate the log-odds of default between rating anchors, the end segments extended, within fixed bounds.

    An approximation of ours and not Altman's: the README says where each anchor comes from.
    """
    upper = next((i for i in range(1, len(anchors) - 1) if value >= anchors[i].value), len(anchors) - 1)
    better, worse = anchors[upper - 1], anchors[upper]
    share = (value - worse.value) / (better.value - worse.value)
    log_odds = _log_odds(worse.probability) + share * (_log_odds(better.probability) - _log_odds(worse.probability))
    lowest, highest = _log_odds(PROBABILITY_MIN), _log_odds(PROBABILITY_MAX)
    return 1 / (1 + math.exp(-min(max(log_odds, lowest), highest)))


# Average one-year default rates by rating, S&P Global, 1981-2023, rounded.
_A, _BBB, _BB, _B, _CCC = 0.0005, 0.0015, 0.006, 0.03, 0.27
# Average Z by S&P rating 1995-1999: Altman (2000).
Z_ANCHORS = (
    Anchor("A", 3.60, _A),
    Anchor("BBB", 2.78, _BBB),
    Anchor("BB", 2.45, _BB),
    Anchor("B", 1.67, _B),
    Anchor("CCC", 0.95, _CCC),
)
# Middles of the intervals of the EM score (3.25 + Z'') for the flat ratings: Altman (2005).
Z_DOUBLE_PRIME_ANCHORS = (
    Anchor("A", 6.75 - 3.25, _A),
    Anchor("BBB", 6.05 - 3.25, _BBB),
    Anchor("BB", 5.10 - 3.25, _BB),
    Anchor("B", 4.325 - 3.25, _B),
    Anchor("CCC", 2.85 - 3.25, _CCC),
)
# Basel II allows no corporate estimate below 0.03 %; nobody is certain to default, either.
PROBABILITY_MIN, PROBABILITY_MAX = 0.0003, 0.99


@dataclass(frozen=True, slots=True)
class _Variant:
    """The bounds of the zones and the rating anchors of one version of the score."""

    distress_below: float
    safe_above: float
    anchors: tuple[Anchor, ...]


_Z = _Variant(1.81, 2.99, Z_ANCHORS)
_Z_DOUBLE_PRIME = _Variant(1.10, 2.60, Z_DOUBLE_PRIME_ANCHORS)

_FIGURES = COLUMNS[COLUMNS.index("period") + 1 :]
_PERIOD = re.compile(r"\d{4}-(?P<part>FY|Q[1-4])", re.ASCII)
# 1234.5, 1,234.5 and the accountants' (1,234.5) for a negative; never nan, inf, 1e9 or a decimal comma. Bounded, so
# that no ratio overflows.
_NUMBER = re.compile(r"-?(?:\d{1,15}|\d{1,3}(?:,\d{3}){1,4})(?:\.\d{1,6})?", re.ASCII)


def _score(variant: str, value: float, bounds: _Variant) -> Score:
    if value < bounds.distress_below:
        zone = Zone.DISTRESS
    elif value > bounds.safe_above:
        zone = Zone.SAFE
    else:
        zone = Zone.GREY
    return Score(variant, value, zone, default_probability(value, bounds.anchors))


def _check_sector(sector: str) -> None:
    if sector in NOT_SCORED:
        raise RowError(RowErrorCode.SECTOR_NOT_SCORED, f"sector {sector!r} is outside Altman's models")
    if sector not in MANUFACTURERS | NON_MANUFACTURERS:
        raise RowError(RowErrorCode.SECTOR_UNKNOWN, f"sector {sector!r} is not known")


def _periods_per_year(period: str) -> int:
    match = _PERIOD.fullmatch(period)
    if match is None:
        raise RowError(RowErrorCode.PERIOD_INVALID, f"period {period!r} is not of the form 2024-FY or 2024-Q3")
    return 1 if match["part"] == "FY" else 4


def _number(fields: dict[str, str], field: str) -> float:
    text = fields[field]
    negated = text.startswith("(") and text.endswith(")")
    digits = f"-{text[1:-1]}" if negated else text
    if not _NUMBER.fullmatch(digits):
        raise RowError(RowErrorCode.NUMBER_INVALID, f"{field} {text!r} is not a number")
    return float(digits.replace(",", ""))


def _check_figures(fields: dict[str, str], figures: dict[str, float]) -> None:
    for field in ("market_cap", "total_assets", "total_liabilities"):
        if figures[field] <= 0:
            raise RowError(RowErrorCode.FIELD_OUT_OF_RANGE, f"{field} {fields[field]!r} is not above zero")
    for field in ("current_assets", "current_liabilities", "sales"):
        if figures[field] < 0:
            raise RowError(RowErrorCode.FIELD_OUT_OF_RANGE, f"{field} {fields[field]!r} is negative")
    for part, whole in (("current_assets", "total_assets"), ("current_liabilities", "total_liabilities")):
        if figures[part] > figures[whole]:
            message = f"{part} {fields[part]!r} is more than {whole} {fields[whole]!r}"
            raise RowError(RowErrorCode.FIGURES_INCONSISTENT, message)


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
