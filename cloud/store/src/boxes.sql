-- What is remembered of the boxes that speak under a gateway's name, as JSON.
CREATE TABLE boxes (
    gateway INTEGER PRIMARY KEY REFERENCES gateways (id),
    record TEXT NOT NULL
) STRICT;

-- Frames that could be neither read nor stored; without a name if that cannot be read. Their sequences are in the marks.
CREATE TABLE set_aside (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    gateway INTEGER NOT NULL REFERENCES gateways (id),
    rank INTEGER REFERENCES incarnations (rank),
    seq INTEGER,
    at_us INTEGER NOT NULL,
    cause TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash BLOB NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (gateway, hash)
) STRICT;
CREATE INDEX set_aside_by_gateway ON set_aside (gateway, id);
