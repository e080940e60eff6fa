"""The demo's formula, its row errors and its data files."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scoring
from make_data import FILES, ROWS_DEFAULT, SEED_DEFAULT, invalid_count, write_files
from scoring import COLUMNS, Company, RowError, RowErrorCode, Score, Zone, parse_company, score_company

DATA = Path(scoring.__file__).parent / "data"
ANCHORS = (scoring.Z_ANCHORS, scoring.Z_DOUBLE_PRIME_ANCHORS)


def cells(**changes: str) -> list[str]:
    """A valid row, with some of its cells changed."""
    row = {
        "symbol": "ACME",
        "name": "Acme Motors, Inc.",
        "sector": "Automotive",
        "period": "2024-FY",
        "market_cap": "900",
        "current_assets": "400",
        "total_assets": "1000",
        "current_liabilities": "200",
        "total_liabilities": "600",
        "retained_earnings": "300",
        "ebit": "100",
        "sales": "1500",
    }
    assert row.keys() == set(COLUMNS)
    assert changes.keys() <= row.keys()
    return list((row | changes).values())


def refusal(row: list[str]) -> RowError:
    with pytest.raises(RowError) as caught:
        parse_company(row)
    return caught.value


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    return rows


def parse_or_refuse(row: list[str]) -> Company | RowError:
    try:
        return parse_company(row)
    except RowError as error:
        return error


def test_a_manufacturer_is_scored_by_the_original_z() -> None:
    score = score_company(parse_company(cells()))

    assert score.variant == "Z"
    assert score.value == pytest.approx(1.2 * 0.2 + 1.4 * 0.3 + 3.3 * 0.1 + 0.6 * 1.5 + 0.999 * 1.5)
    assert score.zone is Zone.SAFE


def test_anyone_else_is_scored_by_z_double_prime_which_knows_neither_market_nor_sales() -> None:
    score = score_company(parse_company(cells(sector="Software")))
    other = score_company(parse_company(cells(sector="Software", market_cap="1", sales="0")))

    assert score.variant == "Z''"
    assert score.value == pytest.approx(6.56 * 0.2 + 3.26 * 0.3 + 6.72 * 0.1 + 1.05 * (400 / 600))
    assert other == score


def test_a_quarters_flows_count_four_times_and_its_balance_sheet_once() -> None:
    quarter = parse_company(cells(period="2024-Q3", ebit="25", sales="375"))

    assert score_company(quarter) == score_company(parse_company(cells()))


@pytest.mark.parametrize(
    ("sector", "retained_earnings", "zone"),
    [
        ("Automotive", "300", Zone.SAFE),
        ("Automotive", "-100", Zone.GREY),
        ("Automotive", "-900", Zone.DISTRESS),
        ("Retail", "300", Zone.SAFE),
        ("Retail", "-100", Zone.GREY),
        ("Retail", "-900", Zone.DISTRESS),
    ],
)
def test_losses_of_the_past_move_a_company_down_the_zones(sector: str, retained_earnings: str, zone: Zone) -> None:
    assert score_company(parse_company(cells(sector=sector, retained_earnings=retained_earnings))).zone is zone


@pytest.mark.parametrize("anchors", ANCHORS)
def test_the_probability_at_an_anchor_is_the_default_rate_of_its_rating(anchors: tuple[scoring.Anchor, ...]) -> None:
    found = [scoring.default_probability(anchor.value, anchors) for anchor in anchors]

    assert found == pytest.approx([anchor.probability for anchor in anchors])


@pytest.mark.parametrize("anchors", ANCHORS)
@given(values=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)))
def test_a_better_score_never_means_a_higher_probability(
    anchors: tuple[scoring.Anchor, ...], values: tuple[float, float]
) -> None:
    worse, better = sorted(values)

    high, low = (scoring.default_probability(value, anchors) for value in (worse, better))

    # Interpolation rounds in its last digits.
    assert low <= high * (1 + 1e-9)
    assert low >= scoring.PROBABILITY_MIN * (1 - 1e-9)
    assert high <= scoring.PROBABILITY_MAX * (1 + 1e-9)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1234.5", 1234.5), ("1,234.5", 1234.5), ("1,234,567", 1234567), ("(1,234.5)", -1234.5), ("-12", -12), (" 7 ", 7)],
)
def test_a_number_may_have_thousands_separators_and_an_accountants_minus(text: str, number: float) -> None:
    assert parse_company(cells(retained_earnings=text)).retained_earnings == number


@pytest.mark.parametrize(
    "text", ["n/a", "12.4bn", "1.234,5", "12,34", "nan", "inf", "1e9", "#REF!", "--1", "(-1)", "()", "١٢", "9" * 16]
)
def test_anything_else_is_not_a_number_and_the_message_shows_it(text: str) -> None:
    error = refusal(cells(retained_earnings=text))

    assert error.code == RowErrorCode.NUMBER_INVALID
    assert error.message == f"retained_earnings {text!r} is not a number"


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_must_have_a_value(column: str) -> None:
    error = refusal(cells(**{column: " "}))

    assert (error.code, error.message) == (RowErrorCode.FIELD_MISSING, f"{column} is missing")


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        (list(COLUMNS), RowErrorCode.HEADER_REPEATED, "header"),
        (cells()[:7], RowErrorCode.COLUMN_COUNT, "7 columns"),
        ([*cells(), ""], RowErrorCode.COLUMN_COUNT, "13 columns"),
        ([], RowErrorCode.COLUMN_COUNT, "0 columns"),
        (cells(period="2024-13"), RowErrorCode.PERIOD_INVALID, "period '2024-13'"),
        (cells(sector="Widgets"), RowErrorCode.SECTOR_UNKNOWN, "sector 'Widgets'"),
        (cells(sector="Banks"), RowErrorCode.SECTOR_NOT_SCORED, "sector 'Banks'"),
        (cells(total_assets="-1000"), RowErrorCode.FIELD_OUT_OF_RANGE, "total_assets '-1000'"),
        (cells(total_liabilities="0"), RowErrorCode.FIELD_OUT_OF_RANGE, "total_liabilities '0'"),
        (cells(period="2024-Q1", sales="(5)"), RowErrorCode.FIELD_OUT_OF_RANGE, "sales '(5)'"),
        (cells(current_assets="1000.1"), RowErrorCode.FIGURES_INCONSISTENT, "current_assets '1000.1'"),
        (cells(current_liabilities="601"), RowErrorCode.FIGURES_INCONSISTENT, "total_liabilities '600'"),
    ],
)
def test_a_row_that_cannot_be_believed_is_refused_with_its_field_and_value(
    row: list[str], code: RowErrorCode, words: str
) -> None:
    error = refusal(row)

    assert error.code == code
    assert words in error.message


@given(
    st.lists(st.one_of(st.text(max_size=20), st.sampled_from(cells())), max_size=14)
    | st.builds(cells, **{column: st.sampled_from(["0.000001", "9" * 15, "-1", *cells()]) for column in COLUMNS})
)
def test_any_row_at_all_is_either_scored_or_refused(row: list[str]) -> None:
    outcome = parse_or_refuse(row)

    if isinstance(outcome, Company):
        assert math.isfinite(score_company(outcome).value)


@pytest.mark.parametrize("name", FILES)
def test_a_committed_file_has_a_thousand_rows_fifteen_of_them_invalid_in_nine_ways(name: str) -> None:
    outcomes = [parse_or_refuse(row) for row in read_rows(DATA / name)]

    errors = [outcome for outcome in outcomes if isinstance(outcome, RowError)]
    assert (len(outcomes), len(errors)) == (1000, 15)
    assert {error.code for error in errors} == set(RowErrorCode)
    assert len({error.message for error in errors}) == 15


@pytest.mark.parametrize("name", FILES)
def test_the_companies_of_a_committed_file_are_as_different_as_life(name: str) -> None:
    outcomes = [parse_or_refuse(row) for row in read_rows(DATA / name)]

    scores: list[Score] = [score_company(outcome) for outcome in outcomes if isinstance(outcome, Company)]
    for variant in ("Z", "Z''"):
        for zone in Zone:
            share = sum(score.variant == variant and score.zone is zone for score in scores) / len(scores)
            assert share > 0.05, (variant, zone)
    assert 0.01 < sum(score.default_probability for score in scores) / len(scores) < 0.08


def test_the_committed_files_are_what_the_script_makes(tmp_path: Path) -> None:
    for path in write_files(tmp_path, rows=ROWS_DEFAULT, seed=SEED_DEFAULT):
        assert path.read_bytes() == (DATA / path.name).read_bytes(), path.name


@given(rows=st.integers(1, 120), seed=st.integers(0, 2**32))
def test_any_seed_makes_as_many_invalid_rows_as_it_says(
    tmp_path_factory: pytest.TempPathFactory, rows: int, seed: int
) -> None:
    for path in write_files(tmp_path_factory.mktemp("data"), rows=rows, seed=seed):
        outcomes = [parse_or_refuse(row) for row in read_rows(path)]

        assert len(outcomes) == rows
        assert sum(isinstance(outcome, RowError) for outcome in outcomes) == invalid_count(rows)


def test_every_symbol_of_a_file_is_its_own() -> None:
    rows = [row for row in read_rows(DATA / "annual.csv") if tuple(row) != COLUMNS]

    assert len({row[0] for row in rows}) == len(rows)
