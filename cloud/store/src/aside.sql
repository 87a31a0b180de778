-- Frames of a gateway that were set aside and had to go because too many were, and their bytes.
CREATE TABLE set_aside_removed (
    gateway INTEGER PRIMARY KEY REFERENCES gateways (id),
    frames INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
