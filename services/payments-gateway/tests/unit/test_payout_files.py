"""Files of payouts: every kind of bad line is named, and nothing of a recipient is kept of it."""

import json

import pytest

from payments_gateway.domain import batch_files
from payments_gateway.domain.batch_files import BatchFileError, read, safe_cell

HEADER = "amount,currency,recipient_kind,recipient,bank_id,bic,name,description,reference"
GOOD = "10.50,RUB,sbp,+79161234567,100000000004,,Anna,royalties,r-1"


def file_of(*lines: str, header: str = HEADER) -> bytes:
    return "\n".join((header, *lines)).encode()


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_files_of_every_origin_are_read(bom: bytes, ending: str, separator: str) -> None:
    lines = (
        HEADER,
        GOOD,
        "",
        "7,RUB,card_token,tk_020a924486aa4df254,,,,,",
        "1.5,RUB,account,40817810099910004312,,044525225,Anna,,",
    )
    text = ending.join(lines).replace(",", separator) + ending
    found = read(bom + text.encode())
    assert [line.line for line in found.good] == [2, 4, 5]
    assert found.bad == []
    assert (found.total_minor, found.currency, found.lines) == (1050 + 700 + 150, "RUB", 3)
    assert found.good[0].recipient.masked == "SBP +7******4567, bank 100000000004, A."
    assert (found.good[0].description, found.good[0].reference) == ("royalties", "r-1")


def test_spreadsheets_are_understood() -> None:
    header = "Recipient_Kind;Recipient;Bank_Id/Bic;Amount;Currency"
    found = read(file_of('sbp;79161234567;100000000004;"1234,5";RUB', header=header))
    assert (found.good[0].amount.minor, found.good[0].recipient.phone) == (123450, "+79161234567")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("", "amount"),
        ("0", "amount"),
        ("0.00", "amount"),
        ("-1", "amount"),
        ("1.005", "amount"),
        ("1e3", "amount"),
        ("١", "amount"),
        ("1 000", "amount"),
        ("9999999999", "amount"),
    ],
)
def test_amounts(line: str, field: str) -> None:
    found = read(file_of(GOOD.replace("10.50", line, 1)))
    assert found.good == []
    assert [name for name, _ in found.bad[0].problems] == [field]


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("RUB", "XXX", "currency"),
        ("RUB", "rub", "currency"),
        ("sbp", "pigeon", "recipient_kind"),
        ("sbp", "", "recipient_kind"),
        ("+79161234567", "+7", "recipient"),
        ("+79161234567", "", "recipient"),
        ("100000000004", "", "bank_id"),
        ("sbp,+79161234567,100000000004", "card_token,4242424242424242,", "recipient"),
        ("sbp,+79161234567,100000000004", "card_token,tk 1,", "recipient"),
        ("sbp,+79161234567,100000000004,,Anna", "account,40817810099910004312,,044525225,", "name"),
        ("sbp,+79161234567,100000000004,,Anna", "account,40817810099910004312,,1,Anna", "bic"),
        ("sbp,+79161234567,100000000004,,Anna", "account,408,,044525225,Anna", "recipient"),
        ("sbp,+79161234567,100000000004,", "sbp,+79161234567,100000000004,044525225", "bic"),
        ("royalties", "x" * 201, "description"),
        ("royalties", "4242 4242 4242 4242", "description"),
        ("r-1", "r" * 65, "reference"),
        (",r-1", "", "line"),
        ("royalties", '"royal', "line"),
        ("royalties", '"royal"ties', "line"),
        ("royalties", "x" * 4001, "line"),
        ("royalties", "bell\x07", "description"),
    ],
)
def test_every_kind_of_bad_line_is_named_with_its_field(before: str, after: str, field: str) -> None:
    assert before in GOOD
    other = GOOD.replace("r-1", "r-2")
    found = read(file_of(other, GOOD.replace(before, after, 1), other.replace("r-2", "r-3")))
    assert [line.line for line in found.good] == [2, 4]
    (bad,) = found.bad
    assert bad.line == 3
    assert [name for name, _ in bad.problems] == [field]
    assert all(reason for _, reason in bad.problems)
    for secret in ("+79161234567", "4242424242424242", "4242 4242", "40817810099910004312"):
        assert secret not in bad.shown + bad.reasons


def test_one_line_may_be_bad_in_several_ways() -> None:
    (bad,) = read(file_of("x,YYY,sbp,+7,,,,,")).bad
    assert [name for name, _ in bad.problems] == ["currency", "amount", "recipient"]


def test_lines_are_in_the_currency_of_the_first() -> None:
    found = read(file_of(GOOD, GOOD.replace("RUB", "USD"), GOOD.replace("r-1", "r-2")))
    assert [line.line for line in found.good] == [2, 4]
    assert found.bad[0].problems[0][0] == "currency"


def test_the_same_recipient_amount_and_reference_twice_is_a_bad_line() -> None:
    same_later = GOOD.replace("royalties", "again")
    found = read(file_of(GOOD, GOOD.replace("10.50", "10.51"), GOOD.replace("r-1", "r-2"), same_later))
    assert [line.line for line in found.good] == [2, 3, 4]
    assert (found.bad[0].line, "line 2" in found.bad[0].reasons) == (5, True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "columns"),
        (b"\n", "columns"),
        (HEADER.encode(), "no line"),
        (file_of(GOOD, header=HEADER.replace("amount,", "")), "lacks: amount"),
        (file_of(GOOD, header=HEADER + ",surprise"), "1 columns are not known"),
        (file_of(GOOD, header=HEADER + ",amount"), "twice"),
        (file_of(GOOD, header='"' + HEADER), "quotes"),
        (file_of(GOOD) + b"\n\xff\xfe", "line 3 is not UTF-8"),
        (file_of(GOOD, "\x00"), "line 3 holds a null"),
        (file_of(*[GOOD] * (batch_files.LINES_MAX + 1)), "at most"),
        (file_of(GOOD.replace("10.50", "90000000.00"), GOOD), "split the file"),
    ],
)
def test_a_file_whose_lines_cannot_be_told_is_refused_whole(data: bytes, words: str) -> None:
    with pytest.raises(BatchFileError) as refused:
        read(data)
    assert words in refused.value.detail


def test_a_file_without_a_header_repeats_nobody() -> None:
    with pytest.raises(BatchFileError) as refused:
        read(b"10,RUB,sbp,+79161234567\n")
    assert "9161234567" not in refused.value.detail


def test_what_is_kept_of_a_bad_line_hides_what_stands_in_the_wrong_column() -> None:
    line = "x,RUB,sbp,+7,100000000004,,,call +7 (916) 123-45-67 tk_020a924486aa4df254331afa,r 40817810099910004312"
    (bad,) = read(file_of(line)).bad
    kept = json.loads(bad.shown)
    assert kept["description"] == "call *** ***"
    assert kept["reference"] == "r ***"
    assert list(batch_files.rows_of(bad.shown)) == ["", "RUB", "***", "call *** ***", "r ***"]


@pytest.mark.parametrize("text", ["=1+1", "+7", "-1", "@x", "\tx", "\rx"])
def test_no_cell_of_a_result_is_a_formula(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert safe_cell(f"a{text}") == f"a{text}"
