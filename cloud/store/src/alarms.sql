-- Alarms as their gateways told last. rank and seq: of the frame that told it, so that an older word that comes later
-- changes nothing. open: not normal, or on the shelf.
CREATE TABLE alarms (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    twin TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    sort_us INTEGER NOT NULL,
    open INTEGER NOT NULL,
    view TEXT NOT NULL,
    FOREIGN KEY (tenant, twin) REFERENCES twins (tenant, twin)
) STRICT, WITHOUT ROWID;
CREATE INDEX alarms_by_time ON alarms (sort_us, id);
CREATE INDEX alarms_open ON alarms (sort_us, id) WHERE open = 1;
