-- name: revision
-- what: the number that goes up with every load of rates
SELECT number FROM {{pricing}}.revision;

-- name: tariffs
-- what: currency and weekend weight of every property
SELECT property_id, currency, weekend_bp FROM {{pricing}}.tariffs;

-- name: seasons
-- what: seasons of every property, in the order in which they are looked up
SELECT property_id, name, first_day, last_day, weight_bp FROM {{pricing}}.seasons ORDER BY property_id, first_day, name;

-- name: room_rates
-- what: nightly rate of every room
SELECT property_id, room_id, room_type, nightly_amount FROM {{pricing}}.room_rates;

-- name: exchange_rates
-- what: what a euro buys in every currency
SELECT currency, minor_digits, micros FROM {{pricing}}.exchange_rates;

-- name: put_tariffs
-- what: insert or update properties
INSERT INTO {{pricing}}.tariffs (property_id, currency, weekend_bp)
SELECT * FROM unnest($1::text[], $2::text[], $3::integer[])
ON CONFLICT (property_id) DO UPDATE SET currency = excluded.currency, weekend_bp = excluded.weekend_bp;

-- name: clear_seasons
-- what: forget the seasons of properties that are about to get new ones
DELETE FROM {{pricing}}.seasons WHERE property_id = ANY($1::text[]);

-- name: put_seasons
-- what: insert seasons
INSERT INTO {{pricing}}.seasons (property_id, name, first_day, last_day, weight_bp)
SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[]);

-- name: put_room_rates
-- what: insert or update nightly rates
INSERT INTO {{pricing}}.room_rates (property_id, room_id, room_type, nightly_amount)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (property_id, room_id)
DO UPDATE SET room_type = excluded.room_type, nightly_amount = excluded.nightly_amount;

-- name: next_revision
-- what: tell running engines that rates have changed
UPDATE {{pricing}}.revision SET number = number + 1;
