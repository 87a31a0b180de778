-- When the first and the last frame of a run were cut, UTC us: a hole between two runs lies between them. None for what was
-- stored before.
ALTER TABLE marks ADD COLUMN first_us INTEGER;
ALTER TABLE marks ADD COLUMN last_us INTEGER;

-- Losses that gateways told, each once. rank: of the incarnation that lost; told_rank, told_seq: of the frame that told
-- it. first, last: sequences lost; from_us, to_us: times of the samples lost; since_us: when the frame before was cut.
CREATE TABLE gaps (
    gateway INTEGER NOT NULL REFERENCES gateways (id),
    rank INTEGER NOT NULL,
    told_rank INTEGER NOT NULL,
    told_seq INTEGER NOT NULL,
    told_us INTEGER NOT NULL,
    since_us INTEGER,
    first INTEGER,
    last INTEGER,
    from_us INTEGER,
    to_us INTEGER,
    samples INTEGER NOT NULL,
    cause TEXT NOT NULL,
    PRIMARY KEY (told_rank, told_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX gaps_by_gateway ON gaps (gateway, told_us);
