"""Files of the catalogue: every bad line is named with its column and reason, and an export is read again."""

import csv
import io
from uuid import UUID

import pytest

from device_bridge.domain.catalogue_files import (
    LINE_CHARS_MAX,
    LINES_MAX,
    CatalogueFile,
    CatalogueFileError,
    read,
    safe_cell,
)
from device_bridge.domain.catalogue_lines import DeviceLine, DrinkLine, devices_shape, drinks_shape

DRINKS = "drink_id,size,name,price\n"
DEVICES = "id,name,location,time_zone,model\n"
MODELS = frozenset({"mqtt-v1", "tmetr"})


def drinks(text: str, currency: str = "RUB") -> CatalogueFile[DrinkLine]:
    return read(text.encode(), drinks_shape(currency))


def devices(text: str) -> CatalogueFile[DeviceLine]:
    return read(text.encode(), devices_shape(MODELS))


def problems(file: CatalogueFile[DrinkLine] | CatalogueFile[DeviceLine]) -> list[tuple[int, str]]:
    return [(bad.line, name) for bad in file.bad for name, _ in bad.problems]


def test_a_line_of_drinks_says_everything() -> None:
    header = "drink_id;size;name;price;available;vat_code;payment_subject;payment_method;measure"
    line = "cappuccino;medium;Капучино, большой;129,50;нет;2;commodity;full_payment;milliliter"
    file = drinks(f"\ufeff{header}\r\n{line}\r\n")
    assert file.bad == []
    assert file.values == [
        DrinkLine(
            drink_id="cappuccino",
            size="medium",
            name="Капучино, большой",
            price_minor=12950,
            available=False,
            vat_code=2,
            payment_subject="commodity",
            payment_method="full_payment",
            measure="milliliter",
        )
    ]


def test_an_empty_price_is_no_price_and_zero_is_none() -> None:
    file = drinks(f"{DRINKS}latte,small,Latte,\nmocha,small,Mocha,0\nraf,small,Raf,0.00\n")
    assert [line.price_minor for line in file.values] == [None]
    assert problems(file) == [(3, "price"), (4, "price")]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("with space,small,Latte,1", "drink_id"),
        (",small,Latte,1", "drink_id"),
        ("latte,huge,Latte,1", "size"),
        ("latte,small,,1", "name"),
        (f"latte,small,{'x' * 121},1", "name"),
        ("latte,small,Latte,-1", "price"),
        ("latte,small,Latte,1.234", "price"),
        ("latte,small,Latte,1e3", "price"),
        ("latte,small,Latte,99999999.99", "price"),
        ("latte,small,Latte", "line"),
        ("latte,small,Latte,1,2", "line"),
        ('latte,small,"Latte,1', "line"),
        (f"latte,small,Latte,{'1' * LINE_CHARS_MAX}", "line"),
    ],
)
def test_a_bad_line_of_drinks_is_named(line: str, column: str) -> None:
    file = drinks(f"{DRINKS}good,small,Good,10\n\n{line}\nfine,large,Fine,20.5\n")
    assert problems(file) == [(4, column)]
    assert [one.line for one in file.good] == [2, 5]
    assert file.lines == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("available", "perhaps"),
        ("vat_code", "0"),
        ("vat_code", "13"),
        ("vat_code", "²"),
        ("payment_subject", "coffee"),
        ("payment_method", "cash"),
        ("measure", "cup"),
    ],
)
def test_a_bad_optional_value_is_named(column: str, value: str) -> None:
    file = drinks(f"{DRINKS.strip()},{column}\nlatte,small,Latte,1,{value}\nlatte,large,Latte,1,\n")
    assert problems(file) == [(2, column)]
    assert len(file.good) == 1


def test_a_line_has_as_many_problems_as_it_has() -> None:
    [bad] = drinks(f"{DRINKS}?,huge,,free\n").bad
    assert [name for name, _ in bad.problems] == ["drink_id", "size", "name", "price"]


def test_the_same_drink_and_size_twice_is_bad() -> None:
    file = drinks(f"{DRINKS}latte,small,Latte,1\nlatte,large,Latte,2\nlatte,small,Latte,3\n")
    [bad] = file.bad
    assert bad.line == 4
    assert bad.problems == (("line", "the same drink and size as in line 2"),)


def test_prices_have_no_more_digits_than_their_currency() -> None:
    assert drinks(f"{DRINKS}latte,small,Latte,300\n", "JPY").values[0].price_minor == 300
    assert problems(drinks(f"{DRINKS}latte,small,Latte,300.5\n", "JPY")) == [(2, "price")]


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        (b"", "header", "first line"),
        (b"\n1,2,3,4\n", "header", "first line"),
        (b"drink_id,size,name\na,small,b\n", "header", "lacks: price"),
        (b"drink_id,size,name,price,colour\n", "header", "colour"),
        (b"drink_id,size,name,price,price\n", "header", "twice"),
        (b'drink_id,size,name,"price\n', "header", "quotes"),
        (b"drink_id,size,name,price\n\n", "body", "no line"),
        (b"drink_id,size,name,price\na,small,\xff,1\n", "body", "line 2 is not UTF-8"),
        (b"drink_id,size,name,price\na,small,b,1\nb,small,\x00,1\n", "body", "line 3 holds a null"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, field: str, words: str) -> None:
    with pytest.raises(CatalogueFileError) as refused:
        read(data, drinks_shape("RUB"))
    assert refused.value.field == field
    assert words in refused.value.detail


def test_a_file_has_a_limit() -> None:
    lines = "".join(f"d{number},small,Drink,1\n" for number in range(LINES_MAX + 1))
    with pytest.raises(CatalogueFileError, match="at most"):
        drinks(DRINKS + lines)
    assert drinks(DRINKS + lines.rsplit("\n", 2)[0]).lines == LINES_MAX


def test_a_file_of_nothing_but_bad_lines_is_given_up() -> None:
    with pytest.raises(CatalogueFileError, match="right file"):
        drinks(DRINKS + "x\n" * 501)


def test_a_line_of_devices_says_everything() -> None:
    header = f"{DEVICES.strip()},merchant_id,payment_scenario,price_rule,driver,text_off_ru,text_off_en"
    merchant = "0192f0c4-7a00-7000-8000-000000000001"
    line = (
        f'kofe-17,Lobby,"Tverskaya, 1",Europe/Moscow,tmetr,{merchant},widget,telemetry,'
        '"{""telemetry_id"": ""12""}",Спим,Asleep'
    )
    file = devices(f"{header}\n{line}\n")
    assert file.bad == []
    assert file.values == [
        DeviceLine(
            id="kofe-17",
            merchant_id=UUID(merchant),
            name="Lobby",
            location="Tverskaya, 1",
            time_zone="Europe/Moscow",
            model="tmetr",
            payment_scenario="widget",
            price_rule="telemetry",
            driver={"telemetry_id": "12"},
            texts={"off": {"ru": "Спим", "en": "Asleep"}},
        )
    ]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("ab,Lobby,,UTC,mqtt-v1", "id"),
        ("a/b/c,Lobby,,UTC,mqtt-v1", "id"),
        ("orders,Lobby,,UTC,mqtt-v1", "id"),
        ("kofe,,,UTC,mqtt-v1", "name"),
        (f"kofe,Lobby,{'x' * 201},UTC,mqtt-v1", "location"),
        ("kofe,Lobby,,Moscow,mqtt-v1", "time_zone"),
        ("kofe,Lobby,,localtime,mqtt-v1", "time_zone"),
        ("kofe,Lobby,,UTC,toaster", "model"),
    ],
)
def test_a_bad_line_of_devices_is_named(line: str, column: str) -> None:
    assert problems(devices(f"{DEVICES}{line}\n")) == [(2, column)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("merchant_id", "mine"),
        ("payment_scenario", "cash"),
        ("price_rule", "cheapest"),
        ("driver", "[1]"),
        ("driver", "{"),
        ("text_busy_ru", "x" * 201),
    ],
)
def test_a_bad_optional_value_of_a_device_is_named(column: str, value: str) -> None:
    file = devices(f"{DEVICES.strip()},{column}\nkofe,Lobby,,UTC,mqtt-v1,{value}\n")
    assert problems(file) == [(2, column)]


def test_what_the_database_refuses_makes_a_line_bad() -> None:
    file = devices(f"{DEVICES}kofe-1,A,,UTC,mqtt-v1\nkofe-2,B,,UTC,mqtt-v1\nx,C,,UTC,mqtt-v1\n")
    file.refuse({2: ("merchant_id", "there is no such merchant")})
    assert problems(file) == [(2, "merchant_id"), (4, "id")]
    assert [line.id for line in file.values] == ["kofe-2"]


@pytest.mark.parametrize("name", ["=1+1", "+7", "-", "@home", "'=1", "''@", "'quoted'", "plain", "it's"])
def test_a_cell_is_safe_in_a_spreadsheet_and_reads_as_it_was(name: str) -> None:
    assert safe_cell(name)[0] not in "=+-@"
    out = io.StringIO()
    csv.writer(out).writerow(("latte", "small", safe_cell(name), "1.00"))
    assert [line.name for line in drinks(DRINKS + out.getvalue()).values] == [name]
