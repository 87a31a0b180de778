-- Chunks that could not be read and were told: each once.
CREATE TABLE damaged (
    chunk INTEGER NOT NULL,
    from_us INTEGER NOT NULL,
    told_us INTEGER NOT NULL,
    PRIMARY KEY (chunk, from_us)
) STRICT, WITHOUT ROWID;
