-- name: put_properties
-- what: insert or update properties
INSERT INTO {{inventory}}.properties (property_id, name, city, country, stars)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[])
ON CONFLICT (property_id) DO UPDATE
SET name = excluded.name, city = excluded.city, country = excluded.country, stars = excluded.stars;

-- name: put_rooms
-- what: insert or update rooms
INSERT INTO {{inventory}}.rooms (property_id, room_id, room_type, capacity)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[])
ON CONFLICT (property_id, room_id) DO UPDATE SET room_type = excluded.room_type, capacity = excluded.capacity;
