"""What ``saga seed`` loads: the property catalogue into inventory, its rates into pricing, each by its own loader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from saga.database import Schemas, connect_pool, migrate
from saga.seeding import SeedReport, SeedSource
from workers.availability.catalogue import load_inventory, tariff_of
from workers.availability.catalogue_files import Catalogue, read_catalogue, write_catalogue
from workers.availability.sample import sample_listings
from workers.pricing.rates import load_rates

if TYPE_CHECKING:
    from saga.settings import Settings


class CatalogueSeeder:
    """See :class:`saga.seeding.Seeder`."""

    async def load(self, settings: Settings, source: SeedSource) -> SeedReport:
        """Load the catalogue. Rates go first, so that no room can be found before it can be priced."""
        catalogue = _catalogue(source)
        await migrate(settings, "inventory", "pricing")
        schemas = Schemas(settings.schema_prefix)
        async with await connect_pool(settings, role="seed", max_size=1) as pool:
            rates = await load_rates(pool, schemas, [tariff_of(listing) for listing in catalogue.listings])
            properties, rooms = await load_inventory(pool, schemas, catalogue.listings)
        return SeedReport(properties, rooms, rates, catalogue.bad_rows)

    def export(self, source: SeedSource, path: Path) -> SeedReport:
        """Write the catalogue as ``.csv`` or ``.json``."""
        catalogue = _catalogue(source)
        write_catalogue(path, catalogue.listings)
        rooms = sum(len(listing.rooms) for listing in catalogue.listings)
        return SeedReport(len(catalogue.listings), rooms, rooms, catalogue.bad_rows)


def _catalogue(source: SeedSource) -> Catalogue:
    if source.file is not None:
        return read_catalogue(source.file)
    return Catalogue(tuple(sample_listings(source.properties, source.rooms, source.seed)))
