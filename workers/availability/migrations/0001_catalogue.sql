-- The inventory: what can be sold, and what is. Availability reads it; confirmation writes sold_nights.
CREATE TABLE properties (
    property_id text PRIMARY KEY CHECK (length(property_id) BETWEEN 1 AND 64),
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
    city        text NOT NULL,
    country     text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    stars       integer NOT NULL CHECK (stars BETWEEN 1 AND 5)
);

CREATE TABLE rooms (
    property_id text NOT NULL REFERENCES properties,
    room_id     text NOT NULL CHECK (length(room_id) BETWEEN 1 AND 64),
    room_type   text NOT NULL CHECK (length(room_type) BETWEEN 1 AND 64),
    capacity    integer NOT NULL CHECK (capacity BETWEEN 1 AND 50),
    PRIMARY KEY (property_id, room_id)
);

-- A night of a room is sold at most once: the primary key is what forbids a double booking. There is no foreign key to
-- rooms: it would cost a locked read of the room for every night sold, and rooms are never deleted.
CREATE TABLE sold_nights (
    property_id text NOT NULL,
    room_id     text NOT NULL,
    night       date NOT NULL,
    booking_id  text NOT NULL,
    sold_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (property_id, room_id, night)
);
CREATE INDEX sold_nights_by_booking ON sold_nights (booking_id);
