-- Samples, and values of waveforms, that a gateway sent of points that its schema lacks: they are in no history.
CREATE TABLE lacking (
    schema INTEGER PRIMARY KEY REFERENCES schemas (id),
    samples INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
