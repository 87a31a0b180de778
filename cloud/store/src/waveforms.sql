-- Blocks of waveforms, or their parts, as the gateway encoded them. A block that comes again (a publisher repeats it)
-- replaces the one that is there.
CREATE TABLE waveforms (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series (id),
    t0_us INTEGER NOT NULL,
    first INTEGER NOT NULL,
    n INTEGER NOT NULL,
    total INTEGER NOT NULL,
    dt_ps INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (series, t0_us, first)
) STRICT;
