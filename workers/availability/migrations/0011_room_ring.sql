-- A property's rooms stand on a ring in an order that means nothing. Each search starts where its booking's id says, so
-- that bookings of one property do not all want the same room first, and stops as soon as it has found enough.
ALTER TABLE rooms ADD COLUMN place integer NOT NULL
    GENERATED ALWAYS AS (('x' || left(md5(room_id), 8))::bit(32)::integer) STORED;
CREATE INDEX rooms_on_the_ring ON rooms (property_id, place);
