-- Rates of the pricing engine. Amounts are integer minor units of the property's currency; weights are basis points.
CREATE TABLE tariffs (
    property_id text PRIMARY KEY CHECK (length(property_id) BETWEEN 1 AND 64),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    weekend_bp  integer NOT NULL DEFAULT 10000 CHECK (weekend_bp BETWEEN 1000 AND 100000)
);

CREATE TABLE seasons (
    property_id text NOT NULL REFERENCES tariffs ON DELETE CASCADE,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    first_day   integer NOT NULL CHECK (first_day BETWEEN 101 AND 1231),
    last_day    integer NOT NULL CHECK (last_day BETWEEN 101 AND 1231),
    weight_bp   integer NOT NULL CHECK (weight_bp BETWEEN 1000 AND 100000),
    PRIMARY KEY (property_id, name)
);
COMMENT ON COLUMN seasons.first_day IS 'month * 100 + day, every year; a season may run over New Year';

CREATE TABLE room_rates (
    property_id    text NOT NULL REFERENCES tariffs ON DELETE CASCADE,
    room_id        text NOT NULL CHECK (length(room_id) BETWEEN 1 AND 64),
    room_type      text NOT NULL CHECK (length(room_type) BETWEEN 1 AND 40),
    nightly_amount bigint NOT NULL CHECK (nightly_amount > 0),
    PRIMARY KEY (property_id, room_id)
);

CREATE TABLE exchange_rates (
    currency     text PRIMARY KEY CHECK (currency ~ '^[A-Z]{3}$'),
    minor_digits integer NOT NULL CHECK (minor_digits BETWEEN 0 AND 3),
    micros       bigint NOT NULL CHECK (micros > 0)
);
COMMENT ON COLUMN exchange_rates.micros IS 'millionths of this currency that one euro buys';

INSERT INTO exchange_rates (currency, minor_digits, micros) VALUES
    ('EUR', 2, 1000000), ('USD', 2, 1085000), ('GBP', 2, 856000), ('CHF', 2, 962000), ('JPY', 0, 163500000),
    ('SEK', 2, 11420000), ('NOK', 2, 11680000), ('DKK', 2, 7459000), ('CZK', 2, 25130000), ('PLN', 2, 4305000),
    ('HUF', 2, 395600000), ('CAD', 2, 1478000), ('AUD', 2, 1643000), ('NZD', 2, 1792000), ('SGD', 2, 1455000),
    ('HKD', 2, 8471000), ('AED', 2, 3985000), ('THB', 2, 38900000), ('INR', 2, 90500000), ('BRL', 2, 5890000),
    ('MXN', 2, 19750000), ('ZAR', 2, 19850000), ('TRY', 2, 35400000), ('KRW', 0, 1478000000), ('KWD', 3, 333000)
ON CONFLICT DO NOTHING;

CREATE TABLE revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number   bigint NOT NULL
);
COMMENT ON TABLE revision IS 'goes up with every load of rates; a running engine compares it to know when to read them again';
INSERT INTO revision (number) VALUES (1) ON CONFLICT DO NOTHING;
