"""Catalogue files and the generated sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from saga.errors import UsageError
from workers.availability.catalogue import tariff_of
from workers.availability.catalogue_files import read_catalogue, write_catalogue
from workers.availability.sample import sample_listings
from workers.pricing.tariff import RoomRate, Season

HEADER = (
    "property_id,name,city,country,stars,currency,weekend_percent,seasons,room_id,room_type,capacity,nightly_minor\n"
)
GOOD = "h1,Hotel One,Paris,FR,4,EUR,115,summer 06-15..08-31 130%; yule 12-20..01-02 150%,{room},double,2,16500\n"


def test_the_sample_has_as_many_properties_and_rooms_as_asked_for() -> None:
    for properties, rooms in ((40, 1200), (1, 1), (7, 7), (55, 300)):
        listings = sample_listings(properties, rooms)
        assert len(listings) == properties
        assert sum(len(listing.rooms) for listing in listings) == rooms
        assert all(len({room.room_id for room in listing.rooms}) == len(listing.rooms) for listing in listings)


def test_the_sample_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    assert sample_listings(seed=4) == sample_listings(seed=4)
    assert sample_listings(seed=4) != sample_listings(seed=5)
    assert [x.property_id for x in sample_listings(seed=4)] == [x.property_id for x in sample_listings(seed=5)]


def test_a_sample_with_fewer_rooms_than_properties_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one room per property"):
        sample_listings(10, 9)


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_what_was_exported_is_read_back_unchanged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"catalogue.{suffix}"
    listings = sample_listings(12, 150, seed=3)
    write_catalogue(path, listings)
    catalogue = read_catalogue(path)
    assert list(catalogue.listings) == listings
    assert catalogue.bad_rows == ()


def test_a_bad_csv_row_is_left_out_and_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text(
        HEADER
        + GOOD.format(room="101")
        + GOOD.format(room="102").replace("FR", "France")
        + GOOD.format(room="103").replace("Hotel One", "Hotel Two")
        + GOOD.format(room="101")
        + GOOD.format(room="104").replace("06-15..", "always ")
        + GOOD.format(room="105").replace("16500", "-1")
        + "h1,too,short\n"
        + GOOD.format(room="106"),
        "utf-8",
    )
    catalogue = read_catalogue(path)
    assert [room.room_id for room in catalogue.listings[0].rooms] == ["101", "106"]
    assert [bad.where for bad in catalogue.bad_rows] == [f"line {n}" for n in (3, 4, 5, 6, 7, 8)]
    reasons = [bad.reason for bad in catalogue.bad_rows]
    assert "country" in reasons[0]
    assert "differently on line 2" in reasons[1]
    assert "twice" in reasons[2]
    assert "season" in reasons[3]
    assert "nightly_minor" in reasons[4]
    assert "as many fields" in reasons[5]


def test_a_bad_json_property_is_left_out_and_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    write_catalogue(path, sample_listings(2, 10))
    text = path.read_text("utf-8").replace('"htl-002"', '"htl 002 with spaces"')
    path.write_text(text, "utf-8")
    catalogue = read_catalogue(path)
    assert [listing.property_id for listing in catalogue.listings] == ["htl-001"]
    assert [bad.where for bad in catalogue.bad_rows] == ["properties[1]"]
    assert "property_id" in catalogue.bad_rows[0].reason


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("catalogue.csv", b"a,b\n1,2\n", "header lacks property_id"),
        ("catalogue.json", b"[1, 2]", "list"),
        ("catalogue.json", b"{", "not JSON"),
        ("catalogue.xlsx", b"", r"\.csv or \.json"),
        ("catalogue.csv", b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_with_advice(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        read_catalogue(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.csv"):
        read_catalogue(Path("nowhere.csv"))


def test_a_listing_becomes_a_tariff_in_basis_points(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text(HEADER + GOOD.format(room="101"), "utf-8")
    tariff = tariff_of(read_catalogue(path).listings[0])
    assert tariff.weekend_bp == 11_500
    assert tariff.seasons == (Season("summer", 615, 831, 13_000), Season("yule", 1220, 102, 15_000))
    assert tariff.rooms == {"101": RoomRate("double", 16_500)}
