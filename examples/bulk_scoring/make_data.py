"""Makes annual.csv and quarterly.csv: the figures of invented companies, some rows broken as real files break."""

from __future__ import annotations

import argparse
import csv
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scoring import COLUMNS

ROWS_DEFAULT = 1000
SEED_DEFAULT = 1968  # the year of Altman's paper; the committed files are made with it
FILES = {"annual.csv": "2024-FY", "quarterly.csv": "2024-Q3"}

Cells = list[str]  # of one line


def invalid_count(rows: int) -> int:
    """How many of so many rows are broken: 15 of each 1000, rounded up."""
    return math.ceil(rows * 15 / 1000)


def write_files(folder: Path, *, rows: int, seed: int) -> list[Path]:
    """Write both files, each with a header and so many rows; the same seed and rows give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for file_name, period in FILES.items():
        path = folder / file_name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_rows(rows, seed=seed, period=period))
        paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS_DEFAULT, help="rows of each file (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT, help="same seed, same files (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the two files")
    arguments = parser.parse_args()
    if arguments.rows < 1:
        parser.error("--rows must be at least 1")
    for path in write_files(arguments.out, rows=arguments.rows, seed=arguments.seed):
        print(f"{path}: {arguments.rows} rows, {invalid_count(arguments.rows)} of them invalid")


@dataclass(frozen=True, slots=True)
class _Sector:
    """What is typical of a sector's figures; the ratios are medians."""

    name: str
    trade: str
    sales_to_assets: float
    margin: float
    liabilities_to_assets: float
    current_to_assets: float
    market_to_book: float


_SECTORS = (
    _Sector("Automotive", "Motors", 0.90, 0.060, 0.62, 0.42, 1.5),
    _Sector("Chemicals", "Chemical", 0.75, 0.100, 0.56, 0.38, 1.9),
    _Sector("Electronics", "Devices", 0.85, 0.110, 0.46, 0.55, 3.0),
    _Sector("Food and Beverage", "Foods", 1.05, 0.095, 0.58, 0.33, 2.4),
    _Sector("Industrial Machinery", "Machinery", 0.85, 0.115, 0.55, 0.46, 2.6),
    _Sector("Pharmaceuticals", "Pharma", 0.55, 0.170, 0.48, 0.44, 3.4),
    _Sector("Media", "Media", 0.60, 0.110, 0.58, 0.28, 1.7),
    _Sector("Retail", "Stores", 1.75, 0.055, 0.64, 0.46, 2.5),
    _Sector("Software", "Systems", 0.60, 0.160, 0.48, 0.48, 5.0),
    _Sector("Telecommunications", "Telecom", 0.45, 0.140, 0.66, 0.18, 1.5),
    _Sector("Transportation", "Logistics", 0.80, 0.080, 0.63, 0.24, 1.9),
    _Sector("Utilities", "Power", 0.30, 0.160, 0.67, 0.12, 1.4),
)
_PLACE_NAMES = (
    "Alder Arden Ashford Beacon Birch Calder Carrow Cedar Clayton Coppice Dunmore Eastgate Elm Fairlead Fenwick "
    "Garnet Glenrock Granite Halden Harrow Hollis Ironbridge Juniper Kestrel Kingsway Lakeland Larch Linden Marlow "
    "Meridian Millbrook Northfield Oakhurst Orchard Pellan Pinecrest Quarry Redwood Ridgeway Rowan Saxon Selby "
    "Silverton Stanmore Stonehaven Summit Tamar Thornton Upland Vale Verdant Wayland Westbrook Whitmore Yarrow"
)
_PLACES = _PLACE_NAMES.split()
_FORMS = ("Corp", "Group", "Holdings", "Industries", "International", "plc", "& Co.", "Partners, Inc.", "Trust, Ltd.")


def _rows(rows: int, *, seed: int, period: str) -> Iterator[Cells]:
    broken = random.Random(f"{seed} broken {period}")
    places = sorted(broken.sample(range(rows), invalid_count(rows)))
    defects = {place: _DEFECTS[number % len(_DEFECTS)] for number, place in enumerate(places)}
    for number in range(rows):
        cells = _company(number, rows=rows, seed=seed, period=period)
        yield defects[number](cells) if number in defects else cells


def _company(number: int, *, rows: int, seed: int, period: str) -> Cells:
    """The same company in both files: its year is drawn first, a quarter is a part of it with a season of its own."""
    draw = random.Random(f"{seed} company {number}")
    sector = draw.choice(_SECTORS)
    name = f"{draw.choice(_PLACES)} {draw.choice(_PLACES)} {sector.trade} {draw.choice(_FORMS)}"
    health = draw.gauss(0, 1)  # one hidden strength moves all ratios together, as in life

    total_assets = draw.lognormvariate(8.2, 1.3)
    liabilities_share = _within(draw.gauss(sector.liabilities_to_assets - 0.07 * health, 0.10), 0.10, 1.30)
    current_share = _within(draw.gauss(sector.current_to_assets, 0.07), 0.04, 0.90)
    current_ratio = _within(draw.gauss(1.55 + 0.35 * health, 0.25), 0.35, 4.0)
    current_liabilities_share = min(current_share / current_ratio, 0.85 * liabilities_share)
    sales = total_assets * sector.sales_to_assets * draw.lognormvariate(0, 0.25)
    ebit = sales * draw.gauss(sector.margin + 0.05 * health, 0.03)
    retained_earnings = total_assets * draw.gauss(0.24 + 0.20 * health, 0.10)
    book_equity = total_assets * max(1 - liabilities_share, 0.08)
    market_cap = book_equity * sector.market_to_book * draw.lognormvariate(0.3 * health, 0.35)

    if not period.endswith("FY"):
        season = draw.gauss(1.0, 0.08)
        sales *= season / 4
        ebit *= season / 4
        market_cap *= draw.lognormvariate(0, 0.10)
    figures = (
        market_cap,
        total_assets * current_share,
        total_assets,
        total_assets * current_liabilities_share,
        total_assets * liabilities_share,
        retained_earnings,
        ebit,
        sales,
    )
    write = _spreadsheet_style if draw.random() < 0.03 else _plain_style
    return [_symbol(number, rows=rows), name, sector.name, period, *map(write, figures)]


def _within(value: float, lowest: float, highest: float) -> float:
    return min(max(value, lowest), highest)


def _symbol(number: int, *, rows: int) -> str:
    """A ticker of its own for each number: a multiplier coprime to 26 visits every combination of letters once."""
    letters = 4
    while 26**letters < rows:
        letters += 1
    rest = (number * 17_389 + 4_711) % 26**letters
    symbol = ""
    for _ in range(letters):
        rest, letter = divmod(rest, 26)
        symbol += chr(ord("A") + letter)
    return symbol


def _plain_style(figure: float) -> str:
    return f"{figure:.1f}"


def _spreadsheet_style(figure: float) -> str:
    """Valid all the same: thousands separators, and parentheses for a negative."""
    return f"({-figure:,.1f})" if figure < 0 else f"{figure:,.1f}"


def _replace(column: str, text: str) -> Callable[[Cells], Cells]:
    place = COLUMNS.index(column)
    return lambda cells: [*cells[:place], text, *cells[place + 1 :]]


def _negate_total_assets(cells: Cells) -> Cells:
    return _replace("total_assets", f"-{cells[COLUMNS.index('total_assets')]}")(cells)


def _current_assets_over_total(cells: Cells) -> Cells:
    """A slip of the decimal point."""
    return _replace("current_assets", f"{cells[COLUMNS.index('total_assets')]}".replace(".", "0."))(cells)


def _unquoted_comma(cells: Cells) -> Cells:
    """A name with a comma that was written without quotes moves every later column by one."""
    return [cells[0], cells[1].replace(",", ""), " Inc.", *cells[2:]]


# One of each for every 1000 rows.
_DEFECTS: tuple[Callable[[Cells], Cells], ...] = (
    _replace("sector", ""),
    _negate_total_assets,
    _replace("market_cap", "n/a"),
    _replace("sales", "12.4bn"),
    lambda _: list(COLUMNS),
    lambda cells: cells[:7],
    _replace("ebit", ""),
    _replace("sector", "Banks"),
    _replace("total_liabilities", "0"),
    _current_assets_over_total,
    _replace("retained_earnings", "1.234,5"),
    _unquoted_comma,
    _replace("period", "2024-13"),
    _replace("total_assets", "#REF!"),
    _replace("sector", "Widgets"),
)


if __name__ == "__main__":
    main()
