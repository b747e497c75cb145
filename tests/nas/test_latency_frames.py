"""A table as frames, against the table itself."""

from pathlib import Path

import pytest

from latency.table_file import load_table
from nas import UserError, load_latency_table
from search_spaces.arch_string import parse_arch
from search_spaces.zoo import get

[FILE, *_] = sorted((Path(__file__).resolve().parents[2] / "experiments" / "results").glob("latency_table_mnasnet_*"))
UNKNOWN = "r1_k7_s11_e1_i32_o16 head_o8"


@pytest.fixture(scope="module")
def table():
    return load_latency_table(FILE)


def test_rows(table):
    rows, plain = table.rows, load_table(FILE)
    assert len(rows) == len(plain.rows)
    for key, price_us, mean_us in zip(rows.key[::50], rows.price_us[::50], rows.mean_us[::50], strict=True):
        [found] = [one for one in plain.rows if str(one) == key]
        assert (price_us, mean_us) == (plain.price_us(found), plain.rows[found].mean_us)


def test_networks(table):
    networks = table.networks
    assert len(networks) == len(table.table.networks)
    first = table.table.networks[0]
    row = networks.iloc[0]
    assert row.measured_ms == first.ratio * table.reference_ms
    assert row.measured_low_ms < row.measured_ms < row.measured_high_ms
    assert row.predicted_ms == table.table.price(parse_arch(first.arch)).latency_ms
    assert row.error == pytest.approx(row.predicted_ms / row.measured_ms - 1)
    assert networks.error.abs().mean() < 0.1


def test_predictions(table):
    arch = table.networks.arch[0]
    found = table.predict([arch, UNKNOWN])
    assert found.arch.tolist() == [arch, UNKNOWN]
    price = table.table.price(parse_arch(arch))
    assert found.latency_ms[0] == price.latency_ms
    assert (found.latency_low_ms[0], found.latency_high_ms[0]) == price.interval_ms
    assert found.loc[1, ["latency_ms", "latency_status"]].isna().all()
    assert (found.num_missing > 0).tolist() == [False, True]


def test_one_network_by_its_name(table):
    [missing] = table.predict("mnasnet_a1").num_missing
    assert missing == len(table.table.missing(table.table._lowered(get("mnasnet_a1"))))


def test_operations_sum_up_to_the_prediction(table):
    arch = table.networks.arch[0]
    operations = table.operations(arch)
    total_us = operations.price_us.sum() + table.intercept_us
    assert total_us / 1000 == pytest.approx(table.predict(arch).latency_ms[0])
    assert operations.layer.iloc[0] == "stem"
    assert operations.measured.all()


def test_an_operation_without_a_price(table):
    operations = table.operations(UNKNOWN)
    assert operations.price_us.isna().any()
    assert not operations.measured[operations.price_us.isna()].any()


def test_validation(table):
    assert table.validation.empty == (table.table.validation is None)


def test_bad_files(table, tmp_path):
    with pytest.raises(UserError, match="cannot be read as a latency table"):
        load_latency_table(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="not a latency table; one is made with: nas latency table build"):
        load_latency_table(str(tmp_path / "other.json"))
    with pytest.raises(UserError, match="'nonsense': not NAME"):
        table.predict("nonsense")
